//! HTTP/1.x (RFC 9110, 9112): parsing and building heads. Pure, zero-copy.
