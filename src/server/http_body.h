#pragma once

/// The body of a request, as its head framed it.

#include <cstdint>
#include <string>
#include <string_view>

#include "server/http_head.h"

namespace qvl {

/// Takes a body out of a stream of bytes. Chunks have no extensions and no trailers follow them:
/// nobody needs either, and programs differ about them.
class BodyDecoder {
 public:
  BodyDecoder(const RequestHead& head, const HttpLimits& limits);

  /// Moves what it understands from the front of `bytes` to the end of `body`. After `done` the
  /// rest of `bytes` belongs to the next request.
  Progress advance(std::string_view& bytes, std::string& body);

  const HttpError& error() const { return error_; }  ///< after `failed`; the connection must end

 private:
  enum class State { size, size_lf, data, data_cr, data_lf, end_cr, end_lf, done };

  Progress fail(int status, std::string message);
  Progress advance_chunked(std::string_view& bytes, std::string& body);
  Progress read_framing(char c);
  Progress end_size();

  HttpLimits limits_;
  HttpError error_;
  State state_ = State::data;
  bool chunked_ = false;
  uint64_t left_ = 0;  ///< of the body or of the chunk
  uint64_t total_ = 0;
  size_t chunks_ = 0;
  int digits_ = 0;
};

}  // namespace qvl
