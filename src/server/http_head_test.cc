#include "server/http_head.h"

#include <gtest/gtest.h>

#include "server/http_body.h"
#include "server/malformed_requests.h"

namespace qvl {
namespace {

struct Parsed {
  Progress progress = Progress::more;
  RequestHead head;
  std::string body;
  int status = 0;
};

/// Head and body of one request that comes in pieces of `step` bytes.
Parsed parse(const std::string& bytes, size_t step, const HttpLimits& limits = {}) {
  Parsed parsed;
  HeadParser parser(limits);
  size_t end = 0;
  while (parsed.progress == Progress::more && end < bytes.size()) {
    end = std::min(end + step, bytes.size());
    parsed.progress = parser.advance(std::string_view(bytes).substr(0, end));
  }
  if (parsed.progress == Progress::failed) parsed.status = parser.error().status;
  if (parsed.progress != Progress::done) return parsed;
  parsed.head = parser.head();
  if (parsed.head.body == RequestHead::Body::none) return parsed;
  BodyDecoder decoder(parsed.head, limits);
  size_t begin = parser.size();
  parsed.progress = Progress::more;
  while (parsed.progress == Progress::more && begin < bytes.size()) {
    std::string_view piece = std::string_view(bytes).substr(begin, step);
    const size_t before = piece.size();
    parsed.progress = decoder.advance(piece, parsed.body);
    begin += before - piece.size();
  }
  if (parsed.progress == Progress::failed) parsed.status = decoder.error().status;
  return parsed;
}

TEST(HttpHead, EveryMalformedRequestIsRefusedHoweverItIsCut) {
  EXPECT_GE(malformed_requests().size(), 100U);
  for (const MalformedRequest& request : malformed_requests()) {
    for (const size_t step : {size_t{1}, size_t{7}, request.bytes.size()}) {
      const Parsed parsed = parse(request.bytes, step);
      EXPECT_EQ(parsed.progress, Progress::failed) << request.name << " in steps of " << step;
      EXPECT_EQ(parsed.status, request.status) << request.name << " in steps of " << step;
    }
  }
}

TEST(HttpHead, AnOrdinaryRequestIsReadWhole) {
  const std::string bytes =
      "POST /v1/chat/completions?a=%20b&c HTTP/1.1\r\nHost: LocalHost:8000\r\n"
      "Content-Length: 2\r\nX-Thing: \t a b \t\r\nAccept:\r\n\r\n{}";
  for (const size_t step : {size_t{1}, size_t{3}, bytes.size()}) {
    const Parsed parsed = parse(bytes, step);
    ASSERT_EQ(parsed.progress, Progress::done);
    EXPECT_EQ(parsed.head.method, "POST");
    EXPECT_EQ(parsed.head.path, "/v1/chat/completions");
    EXPECT_EQ(parsed.head.query, "a=%20b&c");
    EXPECT_EQ(parsed.head.host, "localhost:8000");
    EXPECT_EQ(parsed.head.header("x-thing"), "a b");
    EXPECT_EQ(parsed.head.header("accept"), "");
    EXPECT_EQ(parsed.head.header("x-other"), "");
    EXPECT_EQ(parsed.body, "{}");
    EXPECT_TRUE(parsed.head.keep_alive);
  }
}

TEST(HttpHead, ConnectionCloseIsFoundAmongOtherWords) {
  const auto keeps = [](const std::string& headers, const std::string& version = "1.1") {
    return parse("GET / HTTP/" + version + "\r\nHost: a\r\n" + headers + "\r\n", 1'000)
        .head.keep_alive;
  };
  EXPECT_TRUE(keeps(""));
  EXPECT_TRUE(keeps("Connection: keep-alive\r\n"));
  EXPECT_FALSE(keeps("Connection: close\r\n"));
  EXPECT_FALSE(keeps("Connection: x, Close ,y\r\n"));
  EXPECT_FALSE(keeps("Connection: x\r\nConnection: close\r\n"));
  EXPECT_FALSE(keeps("", "1.0"));
  EXPECT_FALSE(keeps("Connection: keep-alive\r\n", "1.0"));
}

TEST(HttpHead, ContinueIsExpectedOnlyWithABodyOfHttp11) {
  const auto expects = [](const std::string& version, const std::string& headers) {
    return parse("POST / HTTP/" + version + "\r\nHost: a\r\nExpect: 100-Continue\r\n" + headers +
                     "\r\n",
                 1'000)
        .head.expect_continue;
  };
  EXPECT_TRUE(expects("1.1", "Content-Length: 2\r\n"));
  EXPECT_TRUE(expects("1.1", "Transfer-Encoding: chunked\r\n"));
  EXPECT_FALSE(expects("1.1", ""));
  EXPECT_FALSE(expects("1.1", "Content-Length: 0\r\n"));
  EXPECT_FALSE(expects("1.0", "Content-Length: 2\r\n"));
}

TEST(HttpHead, EachLimitIsExact) {
  const HttpLimits limits{.request_line_bytes = 20,
                          .header_bytes = 12,
                          .head_bytes = 30,
                          .headers = 3,
                          .body_bytes = 5};
  const auto status = [&](const std::string& bytes) {
    const Parsed whole = parse(bytes, bytes.size(), limits);
    EXPECT_EQ(parse(bytes, 1, limits).status, whole.status) << bytes;
    return whole.status;
  };
  EXPECT_EQ(status("GET /4567890 HTTP/1.1\r\nHost: a\r\n\r\n"), 431);  // 21 characters
  EXPECT_EQ(status("GET /456789 HTTP/1.1\r\nHost: a\r\n\r\n"), 0);
  EXPECT_EQ(status("GET / HTTP/1.1\r\nHost: a78901 \r\n\r\n"), 431);  // 13
  EXPECT_EQ(status("GET / HTTP/1.1\r\nHost: a78901\r\n\r\n"), 0);
  EXPECT_EQ(status("GET / HTTP/1.1\r\nHost: a\r\nA: 45678\r\nB: 4567890\r\n\r\n"), 431);  // 31
  EXPECT_EQ(status("GET / HTTP/1.1\r\nHost: a\r\nA: 45678\r\nB: 456789\r\n\r\n"), 0);
  EXPECT_EQ(status("GET / HTTP/1.1\r\nHost: a\r\nA:\r\nB:\r\nC:\r\n\r\n"), 431);
  EXPECT_EQ(status("GET / HTTP/1.1\r\nHost: a\r\nA:\r\nB:\r\n\r\n"), 0);
}

TEST(HttpHead, AnEndlessLineIsRefusedBeforeItEnds) {
  HeadParser parser(HttpLimits{});
  EXPECT_EQ(parser.advance("GET /" + std::string(10'000, 'a')), Progress::failed);
  EXPECT_EQ(parser.error().status, 431);
}

TEST(HttpHead, NamesWithPortsAndNumbersAreHosts) {
  for (const char* host :
       {"a", "a.b-c_d", "a:1", "a:65535", "1.2.3.4:80", "[::1]", "[fe80::1]:8000"}) {
    EXPECT_TRUE(is_host(host)) << host;
  }
  for (const char* host : {"", ":80", "a:", "a:0", "a:65536", "a:+1", "a b", "[", "[]",
                           "[:", "[::1", "[::1]a", "[::g]", "a/b", "a@b", "a?b", "a#b", "::1"}) {
    EXPECT_FALSE(is_host(host)) << host;
  }
  EXPECT_EQ(host_name("[::1]:80"), "[::1]");
  EXPECT_EQ(host_name("a.b:80"), "a.b");
}

TEST(HttpBody, ChunksAreJoinedHoweverTheyAreCut) {
  const std::string bytes =
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
      "1\r\na\r\n0A\r\nbcdefghijk\r\n00000002\r\n\r\n\r\n0\r\n\r\nGET";
  for (size_t step = 1; step < bytes.size(); ++step) {
    const Parsed parsed = parse(bytes, step);
    ASSERT_EQ(parsed.progress, Progress::done) << step;
    EXPECT_EQ(parsed.body, "abcdefghijk\r\n");
  }
}

TEST(HttpBody, TheNextRequestStaysInTheInput) {
  RequestHead head{.body = RequestHead::Body::sized, .content_length = 2};
  BodyDecoder sized(head, {});
  std::string body;
  std::string_view bytes = "{}GET";
  EXPECT_EQ(sized.advance(bytes, body), Progress::done);
  EXPECT_EQ(bytes, "GET");
  head.body = RequestHead::Body::chunked;
  head.content_length = 0;
  BodyDecoder chunked(head, {});
  bytes = "0\r\n\r\nGET";
  EXPECT_EQ(chunked.advance(bytes, body), Progress::done);
  EXPECT_EQ(bytes, "GET");
  EXPECT_EQ(body, "{}");
}

TEST(HttpBody, SizeAndNumberOfChunksAreLimited) {
  const HttpLimits limits{.body_bytes = 5, .chunks = 3};
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string one = "1\r\na\r\n", two = "2\r\nab\r\n", end = "0\r\n\r\n";
  EXPECT_EQ(parse(head + two + two + one + end, 4, limits).body, "ababa");
  EXPECT_EQ(parse(head + two + two + two + end, 4, limits).status, 413);
  EXPECT_EQ(parse(head + one + one + one + end, 4, limits).body, "aaa");
  EXPECT_EQ(parse(head + one + one + one + one + end, 4, limits).status, 400);
}

}  // namespace
}  // namespace qvl
