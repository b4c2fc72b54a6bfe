#pragma once

/// The head of an HTTP/1.1 (or 1.0) request, read strictly: what two programs could understand
/// differently is refused, not repaired. So there are no bare line feeds, folded or doubled
/// headers, no length beside a transfer coding, no absolute or percent-encoded path, no path with
/// an empty or dotted segment; the path of a RequestHead is the only one there is. Source: RFC
/// 9112, RFC 9110.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/http_error.h"
#include "server/http_limits.h"

namespace qvl {

struct HttpHeader {
  std::string name;  ///< in lower case
  std::string value;
};

struct RequestHead {
  enum class Body { none, sized, chunked };

  std::string method;  ///< a token, as sent: methods are case sensitive
  std::string path;    ///< begins with '/'; letters, digits and -._~!$&'()*+,;=:@/ only
  std::string query;   ///< what follows '?', still encoded
  std::string host;    ///< the Host header in lower case, with its port if it has one
  std::vector<HttpHeader> headers;
  Body body = Body::none;
  uint64_t content_length = 0;
  int minor_version = 1;
  bool keep_alive = true;
  bool expect_continue = false;

  /// The value of the header of this name (lower case); empty if it is not there.
  std::string_view header(std::string_view name) const;
};

enum class Progress { more, done, failed };

/// Reads one head. Give it the bytes of the request so far, from the first one, whenever there are
/// more; each byte is looked at once. After `done` and `failed` it is used up.
class HeadParser {
 public:
  explicit HeadParser(const HttpLimits& limits) : limits_(limits) {}

  Progress advance(std::string_view bytes);

  RequestHead& head() { return head_; }              ///< after `done`
  size_t size() const { return line_start_; }        ///< bytes of the head, after `done`
  const HttpError& error() const { return error_; }  ///< after `failed`; the connection must end

 private:
  Progress fail(int status, std::string message, std::string param = {});
  Progress read_line(std::string_view line);
  Progress read_request_line(std::string_view line);
  Progress read_header(std::string_view line);
  Progress finish();
  Progress read_framing();
  Progress check_host();

  HttpLimits limits_;
  RequestHead head_;
  HttpError error_;
  size_t scanned_ = 0;
  size_t line_start_ = 0;
  size_t header_bytes_ = 0;
  bool has_request_line_ = false;
};

/// "name", "name:80", "1.2.3.4", "[::1]:80": a host as a Host header may have it.
bool is_host(std::string_view text);
/// The host without its port, brackets kept.
std::string_view host_name(std::string_view host);

std::string to_lower(std::string_view text);

}  // namespace qvl
