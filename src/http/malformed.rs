//! Everything that can be wrong with a request, with its status and its words for the log.
//!
//! One table; refuses to carry a client's bytes, so neither answer nor log can echo them.

/// Why a request was refused. After any of these nothing more of the connection may be read as a
/// request (RFC 9112 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// CR that no LF follows (RFC 9112 section 2.2).
    BareCr,
    /// LF without a CR before it (RFC 9112 section 2.2 lets a server refuse it).
    BareLf,
    /// More than one empty line before the request line (RFC 9112 section 2.2).
    EmptyLines,
    /// The method is not a token, or not followed by one space (RFC 9112 section 3).
    MethodSyntax,
    /// The method is longer than any known one (RFC 9112 section 3: 501).
    MethodTooLong,
    /// The target is empty or holds a byte that no target holds (RFC 9112 section 3.2).
    TargetSyntax,
    /// The target's form does not fit the method (RFC 9112 section 3.2.1 to 3.2.4).
    TargetForm,
    /// The target's authority is invalid or carries user information (RFC 9110 section 4.2).
    TargetAuthority,
    /// The target is longer than `max-target` (RFC 9112 section 3: 414).
    TargetTooLong,
    /// Not `HTTP/` digit `.` digit and the end of the line (RFC 9112 section 2.3).
    VersionSyntax,
    /// A major version other than 1 (RFC 9110 section 15.6.6).
    VersionUnsupported,
    /// The head is longer than `max-head` (RFC 6585 section 5).
    HeadTooLarge,
    /// More fields than `max-fields` (RFC 6585 section 5).
    TooManyFields,
    /// A field name is empty or not a token (RFC 9112 section 5).
    FieldName,
    /// Whitespace between field name and colon (RFC 9112 section 5.1).
    SpaceBeforeColon,
    /// A line that starts with whitespace (RFC 9112 section 5.2, 2.2).
    ObsFold,
    /// A control byte in a field value (RFC 9110 section 5.5).
    FieldValue,
    /// HTTP/1.1 without Host (RFC 9112 section 3.2).
    HostMissing,
    /// Two Host fields (RFC 9112 section 3.2).
    HostRepeated,
    /// Host is not a host with an optional port (RFC 9110 section 7.2).
    HostSyntax,
    /// Content-Length is not digits, or too large for 64 bits (RFC 9112 section 6.3).
    ContentLengthSyntax,
    /// Content-Length values that differ (RFC 9112 section 6.3).
    ContentLengthConflict,
    /// A transfer coding other than chunked (RFC 9112 section 6.1).
    TransferCodingUnknown,
    /// Chunked not last, twice, with parameters, or an empty list (RFC 9112 section 6.1, 6.3, 7.1).
    TransferEncodingSyntax,
    /// Transfer-Encoding together with Content-Length (RFC 9112 section 6.1, 11.2).
    TransferEncodingWithLength,
    /// Transfer-Encoding with HTTP/1.0 (RFC 9112 section 6.1).
    TransferEncodingInHttp10,
    /// An expectation other than `100-continue` (RFC 9110 section 10.1.1).
    ExpectationUnknown,
    /// A path without a leading slash, or with a byte that no path holds (RFC 3986 section 3.3).
    PathSyntax,
    /// `%` without two hexadecimal digits (RFC 3986 section 2.1).
    PathEscape,
    /// `%00`: no file name and no environment variable can hold it.
    PathNul,
    /// `..` above the root.
    PathAboveRoot,
    /// `..` next to an encoded slash, which would become a dot segment once decoded.
    PathEncodedDots,
    /// A chunk size that is not 1 to 16 hexadecimal digits (RFC 9112 section 7.1).
    ChunkSize,
    /// A chunk extension against the grammar (RFC 9112 section 7.1.1).
    ChunkExtension,
    /// Too many bytes of chunk extensions (RFC 9112 section 7.1.1 asks for a limit).
    ChunkExtensionTooLong,
    /// Chunk data not followed by CRLF (RFC 9112 section 7.1).
    ChunkEnd,
    /// A trailer field against the grammar (RFC 9112 section 7.1.2).
    TrailerSyntax,
    /// Too many bytes of trailer fields (RFC 6585 section 5).
    TrailerTooLong,
}

impl Malformed {
    /// The status to answer with; the connection is closed after it.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::MethodTooLong | Self::TransferCodingUnknown => 501,
            Self::TargetTooLong => 414,
            Self::VersionUnsupported => 505,
            Self::HeadTooLarge | Self::TooManyFields | Self::TrailerTooLong => 431,
            Self::ExpectationUnknown => 417,
            _ => 400,
        }
    }

    /// What was wrong, in fixed words.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::BareCr => "CR without LF",
            Self::BareLf => "LF without CR",
            Self::EmptyLines => "more than one empty line before the request line",
            Self::MethodSyntax => "the request line does not start with a method",
            Self::MethodTooLong => "method too long",
            Self::TargetSyntax => "invalid byte in the request target",
            Self::TargetForm => "the target's form does not fit the method",
            Self::TargetAuthority => "invalid authority in the request target",
            Self::TargetTooLong => "target longer than max-target",
            Self::VersionSyntax => "the request line does not end in HTTP/d.d",
            Self::VersionUnsupported => "HTTP major version is not 1",
            Self::HeadTooLarge => "head longer than max-head",
            Self::TooManyFields => "more fields than max-fields",
            Self::FieldName => "invalid field name",
            Self::SpaceBeforeColon => "whitespace before a field's colon",
            Self::ObsFold => "a field line starts with whitespace",
            Self::FieldValue => "control byte in a field value",
            Self::HostMissing => "HTTP/1.1 without Host",
            Self::HostRepeated => "more than one Host",
            Self::HostSyntax => "invalid Host",
            Self::ContentLengthSyntax => "invalid Content-Length",
            Self::ContentLengthConflict => "Content-Length values differ",
            Self::TransferCodingUnknown => "unknown transfer coding",
            Self::TransferEncodingSyntax => "chunked is not the only transfer coding",
            Self::TransferEncodingWithLength => "Transfer-Encoding with Content-Length",
            Self::TransferEncodingInHttp10 => "Transfer-Encoding with HTTP/1.0",
            Self::ExpectationUnknown => "unknown expectation",
            Self::PathSyntax => "invalid path",
            Self::PathEscape => "invalid percent-encoding in the path",
            Self::PathNul => "encoded NUL in the path",
            Self::PathAboveRoot => "the path leads above the root",
            Self::PathEncodedDots => "dot segment behind an encoded slash",
            Self::ChunkSize => "invalid chunk size",
            Self::ChunkExtension => "invalid chunk extension",
            Self::ChunkExtensionTooLong => "chunk extensions too long",
            Self::ChunkEnd => "chunk not followed by CRLF",
            Self::TrailerSyntax => "invalid trailer field",
            Self::TrailerTooLong => "trailer fields too long",
        }
    }
}
