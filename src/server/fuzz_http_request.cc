#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "server/http_body.h"
#include "server/request_gate.h"

namespace {

using qvl::Progress;

void require(bool holds) {
  if (!holds) std::abort();
}

void ignore(const qvl::HttpRequest&, const qvl::ResponseWriter&) {}

const qvl::RequestGate& gate() {
  static const qvl::RequestGate kGate = [] {
    qvl::Router router;
    router.add({"GET", "/health", qvl::Access::open, qvl::BodyRule::none, ignore});
    router.add({"GET", "/v1/models/{id}", qvl::Access::key, qvl::BodyRule::none, ignore});
    router.add({"POST", "/v1/completions", qvl::Access::key, qvl::BodyRule::json, ignore});
    return qvl::RequestGate({"0.0.0.0"}, {.keys = {"key"}, .allowed_origins = {"https://a"}},
                            std::move(router));
  }();
  return kGate;
}

/// What became of the requests in one stream of bytes: their paths and bodies, then how it ended.
std::string read_requests(std::string_view input, size_t step) {
  const qvl::HttpLimits limits{.request_line_bytes = 200,
                               .header_bytes = 200,
                               .head_bytes = 600,
                               .headers = 10,
                               .body_bytes = 1000,
                               .chunks = 20};
  std::string story;
  size_t begin = 0;
  while (begin < input.size()) {
    qvl::HeadParser parser(limits);
    Progress progress = Progress::more;
    for (size_t end = begin; progress == Progress::more && end < input.size();) {
      end = std::min(end + step, input.size());
      progress = parser.advance(input.substr(begin, end - begin));
    }
    if (progress != Progress::done) {
      return story + (progress == Progress::more ? "?" : std::to_string(parser.error().status));
    }
    const qvl::RequestHead& head = parser.head();
    require(head.path.front() == '/' && head.path.find("//") == std::string::npos &&
            head.path.find_first_of("%\\?#\r\n") == std::string::npos);
    require(qvl::is_host(head.host) && head.content_length <= limits.body_bytes);
    const qvl::GateAnswer admission = gate().admit(head);
    const bool routed = admission.route && !admission.refusal;
    require(routed + admission.preflight + admission.refusal.has_value() == 1);
    if (admission.refusal) story += std::to_string(admission.refusal->status);
    for (const qvl::HttpHeader& header : admission.headers) {
      require(header.value.find_first_of("\r\n") == std::string::npos);
    }
    begin += parser.size();

    std::string body;
    if (head.body != qvl::RequestHead::Body::none) {
      qvl::BodyDecoder decoder(head, limits);
      progress = Progress::more;
      while (progress == Progress::more && begin < input.size()) {
        std::string_view piece = input.substr(begin, step);
        const size_t before = piece.size();
        progress = decoder.advance(piece, body);
        begin += before - piece.size();
      }
      require(body.size() <= limits.body_bytes);
      if (progress == Progress::failed) {
        return story + std::to_string(decoder.error().status);
      }
    }
    story += head.method + head.path + "\n" + body + "\n";
  }
  return story;
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer asks for this name.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  // However the network cuts the bytes, they mean the same.
  require(read_requests(input, size) == read_requests(input, data[0] % 32 + 1));
  return 0;
}
