//! CGI/1.1 (RFC 3875): meta-variables and the head of a handler's output. Pure.
