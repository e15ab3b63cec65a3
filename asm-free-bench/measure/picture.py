"""One picture: requests per second of every server, a column of bars per number of connections."""

from xml.sax.saxutils import escape

_LABEL, _COLUMN, _GAP, _ROW, _TOP = 250, 200, 24, 26, 78
_STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f; }
.title { font-size: 16px; font-weight: 600; }
.quiet { fill: #57606a; font-size: 12px; }
.us { font-weight: 600; }
.bar { fill: #8c959f; }
.us-bar { fill: #b35900; }
.track { fill: #8c959f; opacity: .12; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .quiet { fill: #9198a1; }
  .bar { fill: #6e7681; }
  .us-bar { fill: #f0883e; }
}
"""


def draw(path, title, note, columns, rows):
    """`rows`: (label, whether it is Caffeine, values in the order of `columns`, None for nothing)."""
    width = _LABEL + len(columns) * (_COLUMN + _GAP)
    height = _TOP + len(rows) * _ROW + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{escape(title)}">',
        f"<style>{_STYLE}</style>",
        f'<text class="title" x="8" y="24">{escape(title)}</text>',
    ]
    for i, column in enumerate(columns):
        x = _LABEL + i * (_COLUMN + _GAP)
        parts.append(f'<text class="quiet" x="{x}" y="{_TOP - 14}">{escape(column)}</text>')
        parts += _bars(x, [row[2][i] for row in rows], [row[1] for row in rows])
    for i, (label, is_ours, _) in enumerate(rows):
        css = ' class="us"' if is_ours else ""
        parts.append(f'<text{css} x="8" y="{_TOP + i * _ROW + 14}">{escape(label)}</text>')
    parts.append(f'<text class="quiet" x="8" y="{height - 10}">{escape(note)}</text>')
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join([*parts, "</svg>", ""]))


def _bars(x, values, ours):
    """Number beside its bar; the longest bar leaves room for it."""
    longest = max((value for value in values if value), default=1)
    room = _COLUMN - 52
    for i, (value, is_ours) in enumerate(zip(values, ours)):
        y = _TOP + i * _ROW
        length = round(room * (value or 0) / longest, 1)
        css = "us-bar" if is_ours else "bar"
        text = f"{value:,.0f}" if value else "-"
        yield f'<rect class="track" x="{x}" y="{y}" width="{room}" height="18" rx="2"/>'
        yield f'<rect class="{css}" x="{x}" y="{y}" width="{length}" height="18" rx="2"/>'
        label_css = ' class="us"' if is_ours else ""
        yield f'<text{label_css} x="{x + length + 6}" y="{y + 14}">{text}</text>'
