#pragma once

/// Requests that must be refused, for the tests of the parser, of the server and the seeds of the
/// fuzz target. Each is complete: a server that waits for more has not understood it.

#include <string>
#include <vector>

namespace qvl {

struct MalformedRequest {
  const char* name;
  std::string bytes;
  int status;
};

inline std::vector<MalformedRequest> malformed_requests() {
  using namespace std::string_literals;
  const auto get = [](const std::string& headers) {
    return "GET /echo HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n";
  };
  const auto line = [](const std::string& request_line) {
    return request_line + "\r\nHost: localhost\r\n\r\n";
  };
  const auto post = [](const std::string& headers, const std::string& body) {
    return "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
           headers + "\r\n" + body;
  };
  const auto chunked = [&](const std::string& body) {
    return post("Transfer-Encoding: chunked\r\n", body);
  };
  return {
      // The body's frame: two programs must not find two ends of it.
      {"length and coding",
       post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400},
      {"coding and length",
       post("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "0\r\n\r\n"), 400},
      {"two lengths", post("Content-Length: 2\r\nContent-Length: 3\r\n", "{} "), 400},
      {"one length twice", post("Content-Length: 2\r\nContent-Length: 2\r\n", "{}"), 400},
      {"list of lengths", post("Content-Length: 2, 2\r\n", "{}"), 400},
      {"signed length", post("Content-Length: +2\r\n", "{}"), 400},
      {"negative length", post("Content-Length: -1\r\n", ""), 400},
      {"hexadecimal length", post("Content-Length: 0x2\r\n", "{}"), 400},
      {"empty length", post("Content-Length:\r\n", ""), 400},
      {"length with a space", post("Content-Length: 1 0\r\n", "{}"), 400},
      {"fractional length", post("Content-Length: 2.0\r\n", "{}"), 400},
      {"length above 64 bits", post("Content-Length: 18446744073709551618\r\n", ""), 413},
      {"length above the limit", post("Content-Length: 67108865\r\n", ""), 413},
      {"coding twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", ""),
       400},
      {"unknown coding", post("Transfer-Encoding: gzip\r\n", ""), 400},
      {"two codings", post("Transfer-Encoding: gzip, chunked\r\n", ""), 400},
      {"coding with a prefix", post("Transfer-Encoding: xchunked\r\n", ""), 400},
      {"coding with a vertical tab",
       post("Transfer-Encoding: \x0b"
            "chunked\r\n",
            ""),
       400},
      {"coding in quotes", post("Transfer-Encoding: \"chunked\"\r\n", ""), 400},
      {"coding identity", post("Transfer-Encoding: identity\r\n", ""), 400},
      {"coding of HTTP/1.0",
       "POST /echo HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       400},
      {"compressed body", post("Content-Encoding: gzip\r\nContent-Length: 2\r\n", "{}"), 415},
      // Chunks.
      {"chunk without a size", chunked("\r\n"), 400},
      {"chunk size not hexadecimal", chunked("g\r\n"), 400},
      {"chunk size with a sign", chunked("+2\r\n{}\r\n0\r\n\r\n"), 400},
      {"chunk size with 0x", chunked("0x2\r\n{}\r\n0\r\n\r\n"), 400},
      {"chunk size after a space", chunked(" 2\r\n{}\r\n0\r\n\r\n"), 400},
      {"chunk size before a space", chunked("2 \r\n{}\r\n0\r\n\r\n"), 400},
      {"chunk size of nine digits", chunked("000000002\r\n{}\r\n0\r\n\r\n"), 400},
      {"chunk size above the limit", chunked("4000001\r\n"), 413},
      {"chunk extension", chunked("2;a=b\r\n{}\r\n0\r\n\r\n"), 400},
      {"chunk line with a bare line feed", chunked("2\n{}\r\n0\r\n\r\n"), 400},
      {"chunk with a bare line feed behind it", chunked("2\r\n{}\n0\r\n\r\n"), 400},
      {"chunk longer than its size", chunked("2\r\n{} \r\n0\r\n\r\n"), 400},
      {"trailer", chunked("2\r\n{}\r\n0\r\nX: y\r\n\r\n"), 400},
      // Lines.
      {"bare line feeds", "GET /echo HTTP/1.1\nHost: localhost\n\n", 400},
      {"one bare line feed", "GET /echo HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n", 400},
      {"bare carriage return in a value", get("X: a\rb\r\n"), 400},
      {"two carriage returns", "GET /echo HTTP/1.1\r\r\nHost: localhost\r\n\r\n", 400},
      {"folded header", get("X: a\r\n b\r\n"), 400},
      {"header folded with a tab", get("X: a\r\n\tb\r\n"), 400},
      {"space before the first header", "GET /echo HTTP/1.1\r\n Host: localhost\r\n\r\n", 400},
      {"empty line first", "\r\nGET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
      {"NUL in a name", get("X\0: y\r\n"s), 400},
      {"NUL in a value", get("X: a\0b\r\n"s), 400},
      {"NUL in the path", line("GET /ec\0ho HTTP/1.1"s), 400},
      {"space before the colon", get("X : y\r\n"), 400},
      {"header without a colon", get("Xy\r\n"), 400},
      {"header without a name", get(": y\r\n"), 400},
      {"header name with a bracket", get("X(y): z\r\n"), 400},
      {"header name that is not ASCII", get("X\xc3\xa9: z\r\n"), 400},
      {"delete character in a value", get("X: a\x7f\r\n"), 400},
      // The request line.
      {"no version", line("GET /echo"), 400},
      {"no path", line("GET HTTP/1.1"), 400},
      {"two spaces", line("GET  /echo HTTP/1.1"), 400},
      {"tab instead of a space", line("GET\t/echo HTTP/1.1"), 400},
      {"space behind the version", line("GET /echo HTTP/1.1 "), 400},
      {"space in the path", line("GET /ec ho HTTP/1.1"), 400},
      {"method with a bracket", line("G(T /echo HTTP/1.1"), 400},
      {"version in lower case", line("GET /echo http/1.1"), 400},
      {"version without a minor number", line("GET /echo HTTP/1"), 400},
      {"version with two digits", line("GET /echo HTTP/1.10"), 400},
      {"version 2.0", line("GET /echo HTTP/2.0"), 505},
      {"version 1.2", line("GET /echo HTTP/1.2"), 505},
      {"preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"greeting of TLS", "\x16\x03\x01\x02\n\r\n\r\n", 400},
      // The path.
      {"absolute URI", line("GET http://localhost/echo HTTP/1.1"), 400},
      {"authority", line("CONNECT localhost:80 HTTP/1.1"), 400},
      {"asterisk", line("OPTIONS * HTTP/1.1"), 400},
      {"path without a slash", line("GET echo HTTP/1.1"), 400},
      {"encoded slash", line("GET /v1%2fmodels HTTP/1.1"), 400},
      {"encoded letter", line("GET /ech%6f HTTP/1.1"), 400},
      {"bad percent in the path", line("GET /echo%zz HTTP/1.1"), 400},
      {"bad percent in the query", line("GET /echo?a=%zz HTTP/1.1"), 400},
      {"percent at the end of the query", line("GET /echo?a=% HTTP/1.1"), 400},
      {"one digit behind a percent", line("GET /echo?a=%4 HTTP/1.1"), 400},
      {"double slash", line("GET //echo HTTP/1.1"), 400},
      {"double slash inside", line("GET /v1//models HTTP/1.1"), 400},
      {"dot segment", line("GET /./echo HTTP/1.1"), 400},
      {"parent segment", line("GET /v1/../echo HTTP/1.1"), 400},
      {"parent segment last", line("GET /v1/.. HTTP/1.1"), 400},
      {"backslash", line("GET /v1\\models HTTP/1.1"), 400},
      {"fragment", line("GET /echo#a HTTP/1.1"), 400},
      {"path that is not ASCII",
       line("GET /\xc3\xa9"
            "cho HTTP/1.1"),
       400},
      {"brace in the path", line("GET /v1/models/{id} HTTP/1.1"), 400},
      // The host.
      {"no host", "GET /echo HTTP/1.1\r\n\r\n", 400},
      {"no host of HTTP/1.0", "GET /echo HTTP/1.0\r\n\r\n", 400},
      {"empty host", "GET /echo HTTP/1.1\r\nHost:\r\n\r\n", 400},
      {"two hosts", get("Host: localhost\r\n"), 400},
      {"host with a path", "GET /echo HTTP/1.1\r\nHost: a/?\r\n\r\n", 400},
      {"host with a user", "GET /echo HTTP/1.1\r\nHost: a@localhost\r\n\r\n", 400},
      {"host with a space", "GET /echo HTTP/1.1\r\nHost: localhost evil\r\n\r\n", 400},
      {"host with a list", "GET /echo HTTP/1.1\r\nHost: localhost, evil\r\n\r\n", 400},
      {"host with an empty port", "GET /echo HTTP/1.1\r\nHost: localhost:\r\n\r\n", 400},
      {"host with port 0", "GET /echo HTTP/1.1\r\nHost: localhost:0\r\n\r\n", 400},
      {"host with a port too large", "GET /echo HTTP/1.1\r\nHost: localhost:65536\r\n\r\n", 400},
      {"host with two ports", "GET /echo HTTP/1.1\r\nHost: localhost:80:80\r\n\r\n", 400},
      {"host with an open bracket", "GET /echo HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
      // Others.
      {"two keys", get("Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"), 400},
      {"unknown expectation", post("Expect: 200-ok\r\nContent-Length: 2\r\n", "{}"), 417},
      {"request line too long", line("GET /" + std::string(8'192, 'a') + " HTTP/1.1"), 431},
      {"header too long", get("X: " + std::string(8'192, 'a') + "\r\n"), 431},
      {"headers together too long", get([] {
         std::string headers;
         for (int i = 0; i < 9; ++i) {
           headers += "X" + std::to_string(i) + ": " + std::string(4'000, 'a') + "\r\n";
         }
         return headers;
       }()),
       431},
      {"too many headers", get([] {
         std::string headers;
         for (int i = 0; i < 64; ++i) headers += "X: y\r\n";
         return headers;
       }()),
       431},
  };
}

}  // namespace qvl
