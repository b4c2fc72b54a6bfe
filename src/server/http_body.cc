#include "server/http_body.h"

#include <algorithm>

namespace qvl {
namespace {

constexpr int kMaxSizeDigits = 8;

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

BodyDecoder::BodyDecoder(const RequestHead& head, const HttpLimits& limits)
    : limits_(limits),
      state_(head.body == RequestHead::Body::chunked ? State::size : State::data),
      chunked_(head.body == RequestHead::Body::chunked),
      left_(head.content_length) {}

Progress BodyDecoder::fail(int status, std::string message) {
  error_ = {.status = status, .message = std::move(message)};
  return Progress::failed;
}

Progress BodyDecoder::advance(std::string_view& bytes, std::string& body) {
  if (chunked_) return advance_chunked(bytes, body);
  const size_t count = std::min<uint64_t>(left_, bytes.size());
  body.append(bytes.substr(0, count));
  bytes.remove_prefix(count);
  left_ -= count;
  return left_ == 0 ? Progress::done : Progress::more;
}

Progress BodyDecoder::advance_chunked(std::string_view& bytes, std::string& body) {
  while (!bytes.empty() && state_ != State::done) {
    if (state_ == State::data) {
      const size_t count = std::min<uint64_t>(left_, bytes.size());
      body.append(bytes.substr(0, count));
      bytes.remove_prefix(count);
      left_ -= count;
      if (left_ == 0) state_ = State::data_cr;
      continue;
    }
    const char c = bytes.front();
    bytes.remove_prefix(1);
    if (read_framing(c) == Progress::failed) return Progress::failed;
  }
  return state_ == State::done ? Progress::done : Progress::more;
}

Progress BodyDecoder::read_framing(char c) {
  const auto expect = [&](char wanted, State next) {
    if (c != wanted) {
      return fail(400, "a chunk does not end as its size says, or a trailer follows the last one");
    }
    state_ = next;
    return Progress::more;
  };
  switch (state_) {
    case State::size:
      if (c == '\r' && digits_ > 0) {
        state_ = State::size_lf;
      } else if (hex_value(c) >= 0 && digits_ < kMaxSizeDigits) {
        left_ = left_ * 16 + static_cast<uint64_t>(hex_value(c));
        ++digits_;
      } else {
        return fail(400, "a chunk size is not one to eight hexadecimal digits and a line end");
      }
      return Progress::more;
    case State::size_lf:
      if (expect('\n', State::data) == Progress::failed) return Progress::failed;
      return end_size();
    case State::data_cr:
      return expect('\r', State::data_lf);
    case State::data_lf:
      digits_ = 0;
      return expect('\n', State::size);
    case State::end_cr:
      return expect('\r', State::end_lf);
    case State::end_lf:
      return expect('\n', State::done);
    case State::data:
    case State::done:
      break;
  }
  return Progress::more;
}

Progress BodyDecoder::end_size() {
  if (left_ == 0) {
    state_ = State::end_cr;
    return Progress::more;
  }
  total_ += left_;
  if (total_ > limits_.body_bytes) return fail(413, "the body is larger than the server allows");
  if (++chunks_ > limits_.chunks) return fail(400, "the body has too many chunks");
  return Progress::more;
}

}  // namespace qvl
