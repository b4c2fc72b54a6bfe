#pragma once

/// Who may ask: API keys, the names the server answers to, and web pages of other origins.

#include <string>
#include <string_view>
#include <vector>

#include "media/content_hash.h"
#include "qvl/result.h"

namespace qvl {

struct AuthOptions {
  std::vector<std::string> keys;        ///< none: routes that ask for a key are open
  std::vector<std::string> admin_keys;  ///< none: routes for the administrator are closed
  /// Host names beside localhost and the listening addresses; "*" allows every name. A web page can
  /// give its own name any address (DNS rebinding), so a foreign name means a foreign page.
  std::vector<std::string> allowed_hosts;
  /// Origins of web pages that may call beside the server's own, as "https://chat.example"; they
  /// get CORS headers. "*" allows every page, without credentials.
  std::vector<std::string> allowed_origins;
  bool open_without_key = false;  ///< listen beyond this machine although no key is set
};

/// A set of keys, kept as hashes under a secret of this process.
class ApiKeys {
 public:
  explicit ApiKeys(const std::vector<std::string>& keys);

  bool empty() const { return hashes_.empty(); }
  /// Takes the same time whichever key is given and however much of it is right.
  bool contains(std::string_view key) const;

 private:
  ContentHasher::Digest hash(std::string_view key) const;

  std::array<uint8_t, 32> secret_{};
  std::vector<ContentHasher::Digest> hashes_;
};

/// "Bearer KEY" of Authorization, or X-Api-Key, whichever is there; empty if neither is. The
/// scheme's case does not matter.
std::string_view presented_key(std::string_view authorization, std::string_view x_api_key);

/// Names a server at these addresses answers to, in lower case and without ports.
class HostList {
 public:
  /// `addresses` as they were asked for: "127.0.0.1", "0.0.0.0", "gpu-box". A wildcard address also
  /// answers to every address written in numbers, which no page can take for a name, and to the
  /// name of the machine.
  HostList(const std::vector<std::string>& addresses, const std::vector<std::string>& allowed);
  /// `host` in lower case; its port does not matter.
  bool allows(std::string_view host) const;

 private:
  std::vector<std::string> names_;
  bool any_name_ = false;
  bool any_number_ = false;
};

/// Whether "http://localhost:8000" is the origin of pages that `host` ("localhost:8000") serves.
bool is_own_origin(std::string_view origin, std::string_view host);

/// 127.0.0.0/8, ::1, localhost and paths of Unix sockets.
bool is_loopback(std::string_view address);

/// Refuses addresses beyond this machine if there is no key and `open_without_key` is not set, and
/// keys that are empty, which a request without one would have.
Status check_exposure(const std::vector<std::string>& addresses, const AuthOptions& options);

}  // namespace qvl
