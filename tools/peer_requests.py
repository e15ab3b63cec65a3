"""The raw requests of compare-peers: name and bytes, or several writes with a pause between them.

`h` is an executable file, `plain` one that is not, `dir` a folder with an `index`; `.hidden` and
`../outside` are programs that nobody may reach.
"""

HOST = b"Host: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def get(target=b"/h", fields=b"", method=b"GET", version=b"HTTP/1.1", host=HOST):
    """A request without a body."""
    return method + b" " + target + b" " + version + b"\r\n" + host + fields + b"\r\n"


def post(fields, body, version=b"HTTP/1.1"):
    """A request with a body, framed by these fields."""
    return get(fields=fields, method=b"POST", version=version) + body


def chunks(body, fields=b""):
    """A request with a chunked body."""
    return post(CHUNKED + fields, body)


# A request that an attacker hides behind another one.
HIDDEN = get(b"/h/hidden")
FIVE = b"Content-Length: 5\r\n"
GOOD = b"5\r\nhello\r\n0\r\n\r\n"

WELL_FORMED = {
    "get": get(),
    "path info and query": get(b"/h/a/b?x=1"),
    "head": get(method=b"HEAD"),
    "post": post(FIVE, b"hello"),
    "post chunked": chunks(GOOD),
    "put": get(method=b"PUT", fields=FIVE) + b"hello",
    "delete": get(method=b"DELETE"),
    "options": get(method=b"OPTIONS"),
    "options asterisk": get(b"*", method=b"OPTIONS"),
    "unknown method": get(method=b"BREW"),
    "lower-case method": get(method=b"get"),
    "post without body": get(method=b"POST"),
    "post with length 0": post(b"Content-Length: 0\r\n", b""),
    "get with body": get(fields=FIVE) + b"hello",
    "get with chunked body": get(fields=CHUNKED) + GOOD,
    "pipelined": get() + get(b"/h/2"),
    "pipelined after body": post(FIVE, b"hello") + get(b"/h/2"),
    "pipelined after chunks": chunks(GOOD) + get(b"/h/2"),
    "connection close": get(fields=b"Connection: close\r\n") + get(b"/h/2"),
    "connection keep-alive and close": get(fields=b"Connection: keep-alive, close\r\n") + get(b"/h/2"),
    "absolute form": get(b"http://a/h/x"),
    "absolute form wins over host": get(b"http://b/h/x"),
    "absolute form https": get(b"https://a/h/x"),
    "absolute form upper case": get(b"HTTP://a/h/x"),
    "absolute form without path": get(b"http://a"),
    "absolute form with user": get(b"http://u@a/h"),
    "absolute form without host": get(b"http:///h"),
    "trace": get(method=b"TRACE"),
    "connect": get(b"a:80", method=b"CONNECT"),
}

HTTP_1_0 = {
    "1.0": get(version=b"HTTP/1.0"),
    "1.0 without host": get(version=b"HTTP/1.0", host=b""),
    "1.0 keep-alive": get(version=b"HTTP/1.0", fields=b"Connection: keep-alive\r\n") + get(b"/h/2"),
    "1.0 pipelined": get(version=b"HTTP/1.0") + get(b"/h/2"),
    "1.0 chunked": post(CHUNKED, GOOD, version=b"HTTP/1.0"),
    "1.0 expect": [post(FIVE + b"Expect: 100-continue\r\n", b"", version=b"HTTP/1.0"), b"hello"],
    "1.2": get(version=b"HTTP/1.2"),
    "2.0": get(version=b"HTTP/2.0"),
    "2.0 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "0.9": b"GET /h\r\n",
    "no version": b"GET /h\r\nHost: a\r\n\r\n",
    "version 1.10": get(version=b"HTTP/1.10"),
    "version 01.1": get(version=b"HTTP/01.1"),
    "version in lower case": get(version=b"http/1.1"),
    "version with letter": get(version=b"HTTP/1.1x"),
}

LINES = {
    "empty line first": b"\r\n" + get(),
    "three empty lines first": b"\r\n\r\n\r\n" + get(),
    "bare LF line ends": get().replace(b"\r\n", b"\n"),
    "bare LF in one line": get(fields=b"X: 1\nY: 2\r\n"),
    "bare CR line ends": get().replace(b"\r\n", b"\r"),
    "bare CR in value": get(fields=b"X: a\rb\r\n"),
    "LF in target": get(b"/h\n/x"),
    "two spaces in request line": get(b" /h"),
    "tab in request line": b"GET\t/h\tHTTP/1.1\r\n" + HOST + b"\r\n",
    "space after version": get(version=b"HTTP/1.1 "),
    "space before method": get(method=b" GET"),
    "space in target": get(b"/h /x"),
    "method with bracket": get(method=b"GE(T"),
    "TLS hello": b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03\r\n\r\n",
}

FIELDS = {
    "no host": get(host=b""),
    "two hosts": get(fields=HOST),
    "two hosts that differ": get(fields=b"Host: b\r\n"),
    "empty host": get(host=b"Host:\r\n"),
    "host with space": get(host=b"Host: a b\r\n"),
    "host with path": get(host=b"Host: a/b\r\n"),
    "host with user": get(host=b"Host: u@a\r\n"),
    "host with bad port": get(host=b"Host: a:b\r\n"),
    "host with large port": get(host=b"Host: a:99999\r\n"),
    "host with empty port": get(host=b"Host: a:\r\n"),
    "host list": get(host=b"Host: a, b\r\n"),
    "host IPv6": get(host=b"Host: [::1]:80\r\n"),
    "host with underscore": get(host=b"Host: a_b\r\n"),
    "host with dots": get(host=b"Host: a..b\r\n"),
    "space before colon": get(fields=b"X : 1\r\n"),
    "space before colon of length": post(b"Content-Length : 5\r\n", b"hello"),
    "folded line": get(fields=b"X: 1\r\n 2\r\n"),
    "folded first line": get(host=b" X: 1\r\n" + HOST),
    "no colon": get(fields=b"X\r\n"),
    "empty name": get(fields=b": 1\r\n"),
    "bracket in name": get(fields=b"X(: 1\r\n"),
    "underscore in name": get(fields=b"X_Y: 1\r\n"),
    "non-ASCII in name": get(fields=b"X\xe4: 1\r\n"),
    "non-ASCII in value": get(fields=b"X: \xc3\xa4\xff\r\n"),
    "NUL in name": get(fields=b"X\0: 1\r\n"),
    "NUL in value": get(fields=b"X: a\0b\r\n"),
    "control in value": get(fields=b"X: a\x01b\r\n"),
    "DEL in value": get(fields=b"X: a\x7fb\r\n"),
    "tab around value": get(fields=b"X:\ta\t\r\n"),
    "empty value": get(fields=b"X:\r\n"),
    "150 fields": get(fields=b"X: 1\r\n" * 150),
    "20K field": get(fields=b"X: " + b"a" * 20000 + b"\r\n"),
    "60K of fields": get(fields=(b"X: " + b"a" * 6000 + b"\r\n") * 10),
    "9K target": get(b"/h?" + b"a" * 9000),
    "20K target": get(b"/h?" + b"a" * 20000),
    "connection names host": get(fields=b"Connection: Host\r\n"),
    "connection names length": post(b"Connection: Content-Length\r\n" + FIVE, b"hello"),
    "connection with bad token": get(fields=b"Connection: a b\r\n"),
    "proxy field": get(fields=b"Proxy: http://b/\r\n"),
    "upgrade h2c": get(fields=b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n"),
    "upgrade websocket": get(fields=b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    "range": get(fields=b"Range: bytes=0-1\r\n"),
    "if-none-match any": get(fields=b"If-None-Match: *\r\n"),
    "if-match tag": get(fields=b'If-Match: "x"\r\n'),
}

FRAMING = {
    "length and chunked": post(FIVE + CHUNKED, b"0\r\n\r\n" + HIDDEN),
    "chunked and length": post(CHUNKED + b"Content-Length: 4\r\n", GOOD + HIDDEN),
    "two lengths": post(FIVE + FIVE, b"hello"),
    "two lengths that differ": post(FIVE + b"Content-Length: 0\r\n", b"hello"),
    "length list": post(b"Content-Length: 5, 5\r\n", b"hello"),
    "length list that differs": post(b"Content-Length: 5, 6\r\n", b"hello!"),
    "length with plus": post(b"Content-Length: +5\r\n", b"hello"),
    "length with minus": post(b"Content-Length: -5\r\n", b"hello"),
    "length in hex": post(b"Content-Length: 0x5\r\n", b"hello"),
    "length with letters": post(b"Content-Length: 5a\r\n", b"hello"),
    "length with zeros": post(b"Content-Length: 0005\r\n", b"hello"),
    "length with fraction": post(b"Content-Length: 5.0\r\n", b"hello"),
    "length with inner space": post(b"Content-Length: 5 5\r\n", b"hello"),
    "length empty": post(b"Content-Length:\r\n", b""),
    "length of 20 digits": post(b"Content-Length: 18446744073709551621\r\n", b"hello"),
    "length beyond limits": post(b"Content-Length: 99999999999\r\n", b""),
    "length of 17M": post(b"Content-Length: 17825792\r\n", b"0123456789abcdef" * 1114112),
    "length with underscore": post(b"Content_Length: 5\r\n", b"hello"),
    "length larger than body": post(b"Content-Length: 9\r\n", b"hello"),
    "length smaller than body": post(b"Content-Length: 4\r\n", b"hello"),
    "coding identity": post(b"Transfer-Encoding: identity\r\n" + FIVE, b"hello"),
    "coding identity alone": post(b"Transfer-Encoding: identity\r\n", b""),
    "coding unknown": post(b"Transfer-Encoding: cow\r\n", GOOD),
    "coding gzip": post(b"Transfer-Encoding: gzip\r\n", GOOD),
    "coding gzip, chunked": post(b"Transfer-Encoding: gzip, chunked\r\n", GOOD),
    "coding chunked, gzip": post(b"Transfer-Encoding: chunked, gzip\r\n", GOOD),
    "coding chunked twice": post(b"Transfer-Encoding: chunked, chunked\r\n", GOOD),
    "coding chunked in two fields": post(CHUNKED + CHUNKED, GOOD),
    "coding chunked and identity": post(CHUNKED + b"Transfer-Encoding: identity\r\n", GOOD),
    "coding in capitals": post(b"Transfer-Encoding: ChUnKeD\r\n", GOOD),
    "coding with parameter": post(b"Transfer-Encoding: chunked;q=1\r\n", GOOD),
    "coding quoted": post(b'Transfer-Encoding: "chunked"\r\n', GOOD),
    "coding with comma": post(b"Transfer-Encoding: ,chunked\r\n", GOOD),
    "coding with vertical tab": post(b"Transfer-Encoding: \x0bchunked\r\n", GOOD),
    "coding with prefix": post(b"Transfer-Encoding: xchunked\r\n", GOOD),
    "coding empty": post(b"Transfer-Encoding:\r\n", b""),
    "coding with space before colon": post(b"Transfer-Encoding : chunked\r\n" + FIVE, GOOD),
    "coding folded": post(b"Transfer-Encoding:\r\n chunked\r\n", GOOD),
    "coding with underscore": post(b"Transfer_Encoding: chunked\r\n" + FIVE, b"hello"),
}

CHUNKS = {
    "chunk extension": chunks(b"5;a=b\r\nhello\r\n0\r\n\r\n"),
    "chunk extension quoted": chunks(b'5;a="b;c"\r\nhello\r\n0\r\n\r\n'),
    "chunk extension with LF": chunks(b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "chunk extension with CR": chunks(b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    "chunk extension without name": chunks(b"5;\r\nhello\r\n0\r\n\r\n"),
    "chunk size with letter": chunks(b"5g\r\nhello\r\n0\r\n\r\n"),
    "chunk size in capitals": chunks(b"A\r\nhellohello\r\n0\r\n\r\n"),
    "chunk size with 0x": chunks(b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk size with plus": chunks(b"+5\r\nhello\r\n0\r\n\r\n"),
    "chunk size negative": chunks(b"-5\r\nhello\r\n0\r\n\r\n"),
    "chunk size with space behind": chunks(b"5 \r\nhello\r\n0\r\n\r\n"),
    "chunk size with space before": chunks(b" 5\r\nhello\r\n0\r\n\r\n"),
    "chunk size with zeros": chunks(b"0005\r\nhello\r\n0\r\n\r\n"),
    "chunk size with 40 zeros": chunks(b"0" * 40 + b"5\r\nhello\r\n0\r\n\r\n"),
    "chunk size empty": chunks(b"\r\nhello\r\n0\r\n\r\n"),
    "chunk size of 64 bits": chunks(b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    "chunk size of 65 bits": chunks(b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "chunk size too small": chunks(b"4\r\nhello\r\n0\r\n\r\n"),
    "chunk size with LF": chunks(b"5\nhello\r\n0\r\n\r\n"),
    "chunk ends with LF": chunks(b"5\r\nhello\n0\r\n\r\n"),
    "chunk without end": chunks(b"5\r\nhello0\r\n\r\n"),
    "last chunk 000": chunks(b"5\r\nhello\r\n000\r\n\r\n"),
    "last chunk with LF": chunks(b"5\r\nhello\r\n0\n\n"),
    "no last chunk": chunks(b"5\r\nhello\r\n"),
    "trailer": chunks(b"5\r\nhello\r\n0\r\nX: 1\r\n\r\n"),
    "trailer with length": chunks(b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n"),
    "trailer without colon": chunks(b"5\r\nhello\r\n0\r\nX\r\n\r\n"),
    "trailer of a request": chunks(b"5\r\nhello\r\n0\r\n" + HIDDEN),
    "trailer of 20K": chunks(b"5\r\nhello\r\n0\r\nX: " + b"a" * 20000 + b"\r\n\r\n"),
}

EXPECT = {
    "expect continue": [post(FIVE + b"Expect: 100-continue\r\n", b""), b"hello"],
    "expect continue in capitals": [post(FIVE + b"Expect: 100-CONTINUE\r\n", b""), b"hello"],
    "expect continue with chunks": [chunks(b"", b"Expect: 100-continue\r\n"), GOOD],
    "expect continue without body": get(fields=b"Expect: 100-continue\r\n"),
    "expect continue with body sent": post(FIVE + b"Expect: 100-continue\r\n", b"hello"),
    "expect continue for a missing handler": [
        get(b"/missing", FIVE + b"Expect: 100-continue\r\n", method=b"POST"), b"hello"],
    "expect something else": post(FIVE + b"Expect: cow\r\n", b"hello"),
    "expect empty": post(FIVE + b"Expect:\r\n", b"hello"),
}

PATHS = {
    "dot segment": get(b"/./h"),
    "dots below the root": get(b"/dir/../h/x"),
    "dots above the root": get(b"/../h"),
    "dots to outside": get(b"/../outside"),
    "dots escaped": get(b"/%2e%2e/outside"),
    "dots escaped twice": get(b"/%252e%252e/outside"),
    "dots behind handler": get(b"/h/../../outside"),
    "dots in path info": get(b"/h/a/../b"),
    "dots with escaped slash": get(b"/dir%2f..%2fh"),
    "dots with backslash": get(b"/..\\outside"),
    "dots in overlong UTF-8": get(b"/%c0%ae%c0%ae/outside"),
    "two slashes first": get(b"//h"),
    "two slashes in path info": get(b"/h//a"),
    "slash escaped": get(b"/h%2fa"),
    "slash escaped in path info": get(b"/h/a%2fb"),
    "name escaped": get(b"/%68"),
    "NUL in path": get(b"/h%00"),
    "NUL in path info": get(b"/h/%00"),
    "NUL in query": get(b"/h?%00"),
    "line end in path info": get(b"/h/a%0d%0ab"),
    "bad escape": get(b"/h/%zz"),
    "half an escape": get(b"/h/%4"),
    "bad escape in query": get(b"/h?%zz"),
    "hidden name": get(b"/.hidden"),
    "not executable": get(b"/plain"),
    "missing": get(b"/missing"),
    "folder": get(b"/dir/"),
    "folder without slash": get(b"/dir"),
    "folder's index and more": get(b"/dir/x"),
    "root": get(b"/"),
    "other case": get(b"/H"),
    "semicolon": get(b"/h;x=1"),
    "empty query": get(b"/h?"),
    "two question marks": get(b"/h?a?b"),
    "query as an option": get(b"/h?-s"),
    "fragment": get(b"/h#x"),
    "no slash": get(b"h"),
    "non-ASCII byte": get(b"/h/\xc3\xa4"),
    "control byte in target": get(b"/h/\x01"),
    "bytes that RFC 3986 lacks": get(b'/h/"<>{}|^`'),
    "asterisk for get": get(b"*"),
    "empty target": get(b""),
}

REQUESTS = {
    name: raw
    for group in (WELL_FORMED, HTTP_1_0, LINES, FIELDS, FRAMING, CHUNKS, EXPECT, PATHS)
    for name, raw in group.items()
}
