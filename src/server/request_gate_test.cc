#include "server/request_gate.h"

#include <gtest/gtest.h>

namespace qvl {
namespace {

void ignore(const HttpRequest&, const ResponseWriter&) {}

Router some_routes() {
  Router router;
  router.add({"GET", "/health", Access::open, BodyRule::none, ignore});
  router.add({"GET", "/v1/models", Access::key, BodyRule::none, ignore});
  router.add({"GET", "/v1/models/{id}", Access::key, BodyRule::none, ignore});
  router.add({"POST", "/v1/completions", Access::key, BodyRule::json, ignore});
  router.add({"POST", "/v1/files", Access::key, BodyRule::any, ignore});
  router.add({"POST", "/admin/pause", Access::admin, BodyRule::none, ignore});
  return router;
}

/// What the gate says to a request with these headers, and the headers it adds.
struct Said {
  int status = 200;  ///< 204 for a preflight
  std::string headers;
};

Said ask(const AuthOptions& options, const std::string& method_and_path,
         const std::string& headers = "", const std::string& host = "localhost",
         const std::vector<std::string>& addresses = {"127.0.0.1"}) {
  const RequestGate gate(addresses, options, some_routes());
  HeadParser parser(HttpLimits{});
  const Progress progress =
      parser.advance(method_and_path + " HTTP/1.1\r\nHost: " + host + "\r\n" + headers + "\r\n");
  if (progress != Progress::done) return {.status = parser.error().status};
  const GateAnswer admission = gate.admit(parser.head());
  EXPECT_EQ(
      (admission.route && !admission.refusal) + admission.refusal.has_value() + admission.preflight,
      1);
  Said said;
  if (admission.preflight) said.status = 204;
  if (admission.refusal) said.status = admission.refusal->status;
  for (const HttpHeader& header : admission.headers) {
    said.headers += header.name + ": " + header.value + "\n";
  }
  return said;
}

const AuthOptions kKeys{.keys = {"first", "second"}, .admin_keys = {"boss"}};

TEST(Router, HeadGoesToGetAndAnExactPathGoesFirst) {
  const Router router = some_routes();
  EXPECT_EQ(router.match("HEAD", "/v1/models").route->path, "/v1/models");
  const RouteMatch match = router.match("GET", "/v1/models/Qwen/Qwen3-VL-2B");
  EXPECT_EQ(match.route->path, "/v1/models/{id}");
  EXPECT_EQ(match.rest, "Qwen/Qwen3-VL-2B");
  EXPECT_TRUE(router.match("GET", "/v1/models/").allowed.empty());
  EXPECT_TRUE(router.match("GET", "/V1/models").allowed.empty());
  EXPECT_TRUE(router.match("GET", "/v1/models/{id}").route);  // the parser lets no brace pass
  EXPECT_EQ(router.match("DELETE", "/v1/models").allowed,
            (std::vector<std::string>{"GET", "HEAD"}));
}

TEST(RequestGate, EveryRouteOfTheTableAsksForItsKey) {
  const Router router = some_routes();
  for (const Route& route : router.routes()) {
    const std::string path = route.path == "/v1/models/{id}" ? "/v1/models/x" : route.path;
    const std::string line = route.method + " " + path;
    const std::string json = "Content-Type: application/json\r\n";
    const int with_key = route.access == Access::admin ? 401 : 200;
    const int without_key = route.access == Access::open ? 200 : 401;
    const auto status = [&](const std::string& headers) {
      return ask(kKeys, line, json + headers).status;
    };
    EXPECT_EQ(status(""), without_key) << line;
    EXPECT_EQ(status("Authorization: Bearer wrong\r\n"), without_key) << line;
    EXPECT_EQ(status("Authorization: Bearer firs\r\n"), without_key) << line;
    EXPECT_EQ(status("Authorization: Bearer firstt\r\n"), without_key) << line;
    EXPECT_EQ(status("Authorization: Bearer\r\n"), without_key) << line;
    EXPECT_EQ(status("Authorization: Basic first\r\n"), without_key) << line;
    EXPECT_EQ(status("X-Api-Key: wrong\r\n"), without_key) << line;
    EXPECT_EQ(status("Authorization: Bearer wrong\r\nX-Api-Key: first\r\n"), without_key) << line;
    EXPECT_EQ(status("Authorization: Bearer first\r\n"), with_key) << line;
    EXPECT_EQ(status("Authorization: bEARER second\r\n"), with_key) << line;
    EXPECT_EQ(status("X-Api-Key: second\r\n"), with_key) << line;
    EXPECT_EQ(status("Authorization: Bearer boss\r\n"), route.access == Access::key ? 401 : 200)
        << line;
    // No other spelling of the path reaches the route.
    const std::string key = json + "Authorization: Bearer first\r\n";
    EXPECT_EQ(ask(kKeys, route.method + " /" + path, key).status, 400) << line;
    EXPECT_EQ(ask(kKeys, route.method + " /%2f" + path.substr(1), key).status, 400) << line;
    EXPECT_EQ(ask(kKeys, route.method + " /." + path, key).status, 400) << line;
    EXPECT_EQ(ask(kKeys, line, key, "a/?").status, 400) << line;
    EXPECT_EQ(ask(kKeys, line, key, "evil.example").status, 400) << line;
    EXPECT_EQ(ask(kKeys, route.method + " /V1" + path.substr(1), key).status, 404) << line;
  }
}

TEST(RequestGate, A401SaysHowToAuthenticate) {
  EXPECT_EQ(ask(kKeys, "GET /v1/models").headers, "www-authenticate: Bearer\n");
}

TEST(RequestGate, WithoutKeysOnlyTheAdministratorsRoutesAreClosed) {
  EXPECT_EQ(ask({}, "GET /v1/models").status, 200);
  EXPECT_EQ(ask({}, "POST /admin/pause").status, 403);
  EXPECT_EQ(ask({}, "POST /admin/pause", "Authorization: Bearer \r\n").status, 403);
}

TEST(RequestGate, UnknownPathsAndMethodsSayWhatThereIs) {
  EXPECT_EQ(ask(kKeys, "GET /nothing").status, 404);
  const Said said = ask(kKeys, "DELETE /v1/models");
  EXPECT_EQ(said.status, 405);
  EXPECT_EQ(said.headers, "allow: GET, HEAD, OPTIONS\n");
  EXPECT_EQ(ask({}, "get /v1/models").status, 405);
  EXPECT_EQ(ask(kKeys, "OPTIONS /v1/models").status, 204);
  EXPECT_EQ(ask(kKeys, "OPTIONS /nothing").status, 404);
}

TEST(RequestGate, BodiesAreAsTheRouteTakesThem) {
  const std::string length = "Content-Length: 2\r\n";
  const auto post = [&](const std::string& type) {
    return ask({}, "POST /v1/completions", length + "Content-Type: " + type + "\r\n").status;
  };
  EXPECT_EQ(post("application/json"), 200);
  EXPECT_EQ(post("Application/JSON ; charset=utf-8"), 200);
  EXPECT_EQ(post("text/plain"), 415);
  EXPECT_EQ(post("application/jsonp"), 415);
  EXPECT_EQ(ask({}, "POST /v1/completions", length).status, 415);
  EXPECT_EQ(ask({}, "POST /v1/files", length).status, 200);
  EXPECT_EQ(ask({}, "GET /v1/models", length).status, 400);
  EXPECT_EQ(ask({}, "GET /v1/models", "Content-Length: 0\r\n").status, 200);
}

TEST(RequestGate, AnswersOnlyToItsOwnNames) {
  const auto status = [](const std::string& host, const std::vector<std::string>& addresses,
                         const AuthOptions& options = {}) {
    return ask(options, "GET /health", "", host, addresses).status;
  };
  for (const char* host : {"localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:80"}) {
    EXPECT_EQ(status(host, {"127.0.0.1"}), 200) << host;
  }
  for (const char* host : {"evil.example", "localhost.evil.example", "192.0.2.1", "127.0.0.2"}) {
    EXPECT_EQ(status(host, {"127.0.0.1"}), 400) << host;
  }
  EXPECT_EQ(status("192.0.2.1:8000", {"192.0.2.1"}), 200);
  EXPECT_EQ(status("[2001:db8::1]", {"2001:db8::1"}), 200);
  EXPECT_EQ(status("192.0.2.7", {"0.0.0.0"}), 200);  // a number is nobody's web page
  EXPECT_EQ(status("evil.example", {"0.0.0.0"}), 400);
  EXPECT_EQ(status("192.0.2.evil", {"0.0.0.0"}), 400);
  EXPECT_EQ(status("[2001:db8::1]:80", {"::"}), 200);
  EXPECT_EQ(status("gpu-box", {"0.0.0.0"}, {.allowed_hosts = {"GPU-box"}}), 200);
  EXPECT_EQ(status("any.example", {"0.0.0.0"}, {.allowed_hosts = {"*"}}), 200);
}

TEST(RequestGate, ForeignPagesAreRefusedUnlessTheyAreListed) {
  const auto said = [](const std::string& origin, const AuthOptions& options = {}) {
    return ask(options, "GET /health", "Origin: " + origin + "\r\n", "localhost:8000");
  };
  EXPECT_EQ(said("http://localhost:8000").status, 200);
  EXPECT_EQ(said("https://localhost:8000").status, 200);
  EXPECT_EQ(said("http://localhost:8000").headers, "");
  for (const char* origin :
       {"null", "http://evil.example", "http://localhost", "http://localhost:80001",
        "http://localhost:8000.evil.example", "localhost:8000", "x"}) {
    EXPECT_EQ(said(origin).status, 403) << origin;
  }
  const AuthOptions listed{.allowed_origins = {"https://chat.example"}};
  EXPECT_EQ(said("https://chat.example", listed).status, 200);
  EXPECT_EQ(said("https://chat.example", listed).headers,
            "vary: Origin\naccess-control-allow-origin: https://chat.example\n"
            "access-control-expose-headers: X-Request-Id\n");
  EXPECT_EQ(said("https://evil.example", listed).status, 403);
  const Said any = said("https://evil.example", {.allowed_origins = {"*"}});
  EXPECT_EQ(any.status, 200);
  EXPECT_EQ(any.headers,
            "access-control-allow-origin: *\naccess-control-expose-headers: X-Request-Id\n");
}

TEST(RequestGate, APreflightOfAListedPageNamesMethodsAndHeaders) {
  const std::string headers =
      "Origin: https://chat.example\r\nAccess-Control-Request-Method: POST\r\n";
  const Said listed = ask({.keys = {"k"}, .allowed_origins = {"https://chat.example"}},
                          "OPTIONS /v1/completions", headers);
  EXPECT_EQ(listed.status, 204);  // a preflight never has the key
  EXPECT_NE(listed.headers.find("access-control-allow-methods: POST, OPTIONS\n"),
            std::string::npos);
  EXPECT_EQ(listed.headers.find("credentials"), std::string::npos);
  EXPECT_EQ(ask({}, "OPTIONS /v1/completions", headers).status, 403);
}

TEST(Auth, ListeningBeyondThisMachineNeedsAKeyOrAWord) {
  const auto safe = [](const std::string& address, const AuthOptions& options = {}) {
    return static_cast<bool>(check_exposure({"127.0.0.1", address}, options));
  };
  for (const char* address : {"127.0.0.1", "127.9.9.9", "::1", "localhost", "/run/qvl.sock"}) {
    EXPECT_TRUE(safe(address)) << address;
  }
  for (const char* address : {"0.0.0.0", "::", "192.0.2.1", "::ffff:127.0.0.1", "gpu-box", ""}) {
    EXPECT_FALSE(safe(address)) << address;
    EXPECT_TRUE(safe(address, {.keys = {"k"}})) << address;
    EXPECT_TRUE(safe(address, {.open_without_key = true})) << address;
    EXPECT_FALSE(safe(address, {.keys = {"k", ""}})) << address;
  }
}

}  // namespace
}  // namespace qvl
