#include "server/http_head.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace qvl {
namespace {

bool is_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool is_one_of(char c, std::string_view set) { return set.find(c) != std::string_view::npos; }

bool is_token(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return is_alnum(c) || is_one_of(c, "!#$%&'*+-.^_`|~");
  });
}

bool is_path_char(char c) { return is_alnum(c) || is_one_of(c, "-._~!$&'()*+,;=:@/"); }

/// Visible characters, spaces, tabs and the upper half, which is opaque (RFC 9110, 5.5).
bool is_header_value(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
  });
}

bool is_query(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (i + 2 >= text.size() || !is_hex(text[i + 1]) || !is_hex(text[i + 2])) return false;
      i += 2;
    } else if (!is_path_char(text[i]) && text[i] != '?') {
      return false;
    }
  }
  return true;
}

/// No "//", "/./" or "/../", which some programs would shorten before they compare.
bool has_plain_segments(std::string_view path) {
  size_t begin = 1;
  while (begin < path.size()) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view segment = path.substr(begin, end - begin);
    if (segment.empty() || segment == "." || segment == "..") return false;
    begin = end + 1;
  }
  return true;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_one_of(text.front(), " \t")) text.remove_prefix(1);
  while (!text.empty() && is_one_of(text.back(), " \t")) text.remove_suffix(1);
  return text;
}

/// Headers this server acts on: of two, another program might follow the other one.
constexpr std::array<std::string_view, 10> kSingleHeaders = {
    "host",         "content-length",   "transfer-encoding",
    "content-type", "content-encoding", "authorization",
    "x-api-key",    "origin",           "expect",
    "x-request-id"};

}  // namespace

std::string to_lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::string_view host_name(std::string_view host) {
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.find(':'));
}

bool is_host(std::string_view text) {
  const std::string_view name = host_name(text);
  if (name.empty() || name.size() > 255) return false;
  if (name.front() == '[') {
    const std::string_view inside = name.substr(1, name.size() - 2);
    if (name.back() != ']' || inside.size() < 2 ||
        !std::ranges::all_of(inside, [](char c) { return is_hex(c) || c == ':' || c == '.'; })) {
      return false;
    }
  } else if (!std::ranges::all_of(name,
                                  [](char c) { return is_alnum(c) || is_one_of(c, "-._"); })) {
    return false;
  }
  const std::string_view rest = text.substr(name.size());
  if (rest.empty()) return true;
  unsigned port = 0;
  const auto [end, error] = std::from_chars(rest.data() + 1, rest.data() + rest.size(), port);
  return rest.front() == ':' && rest.size() <= 6 && error == std::errc() &&
         end == rest.data() + rest.size() && port >= 1 && port <= 65'535;
}

std::string_view RequestHead::header(std::string_view name) const {
  const auto found = std::ranges::find(headers, name, &HttpHeader::name);
  return found == headers.end() ? std::string_view() : std::string_view(found->value);
}

Progress HeadParser::fail(int status, std::string message, std::string param) {
  error_ = {.status = status, .message = std::move(message), .param = std::move(param)};
  return Progress::failed;
}

Progress HeadParser::advance(std::string_view bytes) {
  while (true) {
    const size_t limit = has_request_line_ ? limits_.header_bytes : limits_.request_line_bytes;
    const size_t newline = bytes.find('\n', scanned_);
    const size_t line_bytes = std::min(newline, bytes.size()) - line_start_;
    if (line_bytes > limit + 1) {  // the line and its carriage return
      return fail(431, has_request_line_ ? "a header line is longer than the server allows"
                                         : "the request line is longer than the server allows");
    }
    scanned_ = std::min(newline, bytes.size());
    const bool ends = newline != std::string_view::npos;
    if (has_request_line_) {
      // The line that ends the head is not counted; of one that has not ended, "\r" may be it.
      const size_t counted = line_bytes <= 1 ? 0 : line_bytes + (ends ? 1 : 0);
      if (header_bytes_ + counted > limits_.head_bytes) {
        return fail(431, "the headers together are longer than the server allows");
      }
      if (ends) header_bytes_ += counted;
    }
    if (!ends) return Progress::more;

    std::string_view line = bytes.substr(line_start_, line_bytes);
    scanned_ = line_start_ = newline + 1;
    if (line.empty() || line.back() != '\r') {
      return fail(400, "a line ends with a bare line feed; end lines with CR LF");
    }
    line.remove_suffix(1);
    if (has_request_line_ && line.empty()) return finish();
    if (read_line(line) == Progress::failed) return Progress::failed;
  }
}

Progress HeadParser::read_line(std::string_view line) {
  if (!has_request_line_) {
    has_request_line_ = true;
    return read_request_line(line);
  }
  return read_header(line);
}

Progress HeadParser::read_request_line(std::string_view line) {
  const size_t first = line.find(' ');
  const size_t second = line.find(' ', first == std::string_view::npos ? first : first + 1);
  if (second == std::string_view::npos) {
    return fail(400, "the request line is not METHOD PATH HTTP/1.1");
  }
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, second - first - 1);
  const std::string_view version = line.substr(second + 1);
  if (!is_token(method)) return fail(400, "the method is not a word");
  if (version == "HTTP/1.0") {
    head_.minor_version = 0;
    head_.keep_alive = false;
  } else if (version != "HTTP/1.1") {
    const bool other_http = version.size() == 8 && version.starts_with("HTTP/") &&
                            version[6] == '.' && version[5] >= '0' && version[5] <= '9' &&
                            version[7] >= '0' && version[7] <= '9';
    return other_http ? fail(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
                      : fail(400, "the request line does not end with HTTP/1.1");
  }

  const size_t question = std::min(target.find('?'), target.size());
  const std::string_view path = target.substr(0, question);
  const std::string_view query = target.substr(std::min(question + 1, target.size()));
  if (!path.starts_with('/')) return fail(400, "the request target is not a path; begin it with /");
  if (path.find('%') != std::string_view::npos) {
    return fail(400, "the path is percent-encoded; no path here needs it");
  }
  if (!std::ranges::all_of(path, is_path_char)) {
    return fail(400, "the path has a character that paths cannot have");
  }
  if (!has_plain_segments(path)) return fail(400, "the path has an empty or a dotted segment");
  if (!is_query(query))
    return fail(400, "the query has a character or an escape that is not valid");
  head_.method = method;
  head_.path = path;
  head_.query = query;
  return Progress::more;
}

Progress HeadParser::read_header(std::string_view line) {
  if (head_.headers.size() == limits_.headers) return fail(431, "there are too many headers");
  if (is_one_of(line.front(), " \t")) return fail(400, "a header is folded over two lines");
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return fail(400, "a header line has no colon");
  if (!is_token(line.substr(0, colon))) return fail(400, "a header name is not a word");
  const std::string_view value = trim(line.substr(colon + 1));
  if (!is_header_value(value)) return fail(400, "a header value has a control character");

  std::string name = to_lower(line.substr(0, colon));
  if (std::ranges::find(kSingleHeaders, name) != kSingleHeaders.end() &&
      std::ranges::find(head_.headers, name, &HttpHeader::name) != head_.headers.end()) {
    return fail(400, "a header is given twice that may be given once", name);
  }
  head_.headers.push_back({.name = std::move(name), .value = std::string(value)});
  return Progress::more;
}

Progress HeadParser::finish() {
  if (check_host() == Progress::failed || read_framing() == Progress::failed) {
    return Progress::failed;
  }
  for (const HttpHeader& header : head_.headers) {
    if (header.name != "connection") continue;
    std::string_view rest = header.value;
    while (!rest.empty()) {
      const size_t comma = std::min(rest.find(','), rest.size());
      if (to_lower(trim(rest.substr(0, comma))) == "close") head_.keep_alive = false;
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
  }
  if (const std::string_view expect = head_.header("expect"); !expect.empty()) {
    if (to_lower(expect) != "100-continue") {
      return fail(417, "the only expectation met here is 100-continue", "expect");
    }
    // An answer before the final one is not for HTTP/1.0 (RFC 9110, 15.2).
    head_.expect_continue = head_.minor_version >= 1 && head_.body != RequestHead::Body::none;
  }
  return Progress::done;
}

Progress HeadParser::check_host() {
  const std::string_view host = head_.header("host");
  if (!is_host(host)) return fail(400, "the Host header is missing or not a host", "host");
  head_.host = to_lower(host);
  return Progress::more;
}

Progress HeadParser::read_framing() {
  const auto has = [&](std::string_view name) {
    return std::ranges::find(head_.headers, name, &HttpHeader::name) != head_.headers.end();
  };
  if (has("transfer-encoding")) {
    if (has("content-length")) {
      return fail(400, "the body has both a length and a transfer coding", "transfer-encoding");
    }
    if (head_.minor_version == 0 || to_lower(head_.header("transfer-encoding")) != "chunked") {
      return fail(400, "the only transfer coding is chunked, of HTTP/1.1", "transfer-encoding");
    }
    head_.body = RequestHead::Body::chunked;
  } else if (has("content-length")) {
    const std::string_view text = head_.header("content-length");
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), head_.content_length);
    const bool digits =
        !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
    if (!digits) return fail(400, "the content length is not a number", "content-length");
    if (error != std::errc() || head_.content_length > limits_.body_bytes) {
      return fail(413, "the body is larger than the server allows", "content-length");
    }
    if (head_.content_length > 0) head_.body = RequestHead::Body::sized;
  }
  if (has("content-encoding") && to_lower(head_.header("content-encoding")) != "identity") {
    return fail(415, "bodies are not decompressed; send it as it is", "content-encoding");
  }
  return Progress::more;
}

}  // namespace qvl
