#include "server/auth.h"

#include <arpa/inet.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <span>

#include "server/http_head.h"

namespace qvl {
namespace {

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

/// Looks at every byte, whatever it finds: `volatile` keeps the compiler from leaving early.
bool equal_in_constant_time(const ContentHasher::Digest& a, const ContentHasher::Digest& b) {
  volatile uint8_t difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference = static_cast<uint8_t>(difference | (a[i] ^ b[i]));
  }
  return difference == 0;
}

/// The address of "[::1]" or "1.2.3.4"; AF_UNSPEC if it is a name.
struct NumericAddress {
  int family = AF_UNSPEC;
  std::array<uint8_t, 16> bytes{};
};

NumericAddress parse_address(std::string_view host) {
  std::string text(host);
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  NumericAddress address;
  for (const int family : {AF_INET, AF_INET6}) {
    if (inet_pton(family, text.c_str(), address.bytes.data()) == 1) {
      address.family = family;
      return address;
    }
  }
  return address;
}

bool is_wildcard(std::string_view host) {
  const NumericAddress address = parse_address(host);
  return address.family != AF_UNSPEC &&
         std::ranges::all_of(address.bytes, [](uint8_t byte) { return byte == 0; });
}

std::string machine_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? to_lower(name.data()) : "";
}

}  // namespace

ApiKeys::ApiKeys(const std::vector<std::string>& keys) {
  // The kernel gives up to 256 bytes whole once its generator is seeded.
  if (getrandom(secret_.data(), secret_.size(), 0) != static_cast<ssize_t>(secret_.size())) {
    std::abort();
  }
  for (const std::string& key : keys) hashes_.push_back(hash(key));
}

ContentHasher::Digest ApiKeys::hash(std::string_view key) const {
  ContentHasher hasher;
  hasher.add(secret_);
  hasher.add(bytes_of(key));
  return hasher.digest();
}

bool ApiKeys::contains(std::string_view key) const {
  const ContentHasher::Digest given = hash(key);
  unsigned found = 0;
  for (const ContentHasher::Digest& known : hashes_) {
    found |= static_cast<unsigned>(equal_in_constant_time(given, known));
  }
  return found != 0;
}

std::string_view presented_key(std::string_view authorization, std::string_view x_api_key) {
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() > kScheme.size() &&
      to_lower(authorization.substr(0, kScheme.size())) == kScheme) {
    return authorization.substr(kScheme.size());
  }
  return authorization.empty() ? x_api_key : std::string_view();
}

HostList::HostList(const std::vector<std::string>& addresses,
                   const std::vector<std::string>& allowed)
    : names_{"localhost", "127.0.0.1", "[::1]"} {
  for (const std::string& address : addresses) {
    if (address.starts_with('/')) continue;
    if (is_wildcard(address)) {
      any_number_ = true;
      names_.push_back(machine_name());
    }
    const bool bare_ipv6 = address.find(':') != std::string::npos && !address.starts_with('[');
    names_.push_back(to_lower(bare_ipv6 ? "[" + address + "]" : address));
  }
  for (const std::string& name : allowed) {
    if (name == "*") any_name_ = true;
    names_.push_back(to_lower(name));
  }
}

bool HostList::allows(std::string_view host) const {
  const std::string_view name = host_name(host);
  return any_name_ || std::ranges::find(names_, name) != names_.end() ||
         (any_number_ && parse_address(name).family != AF_UNSPEC);
}

bool is_own_origin(std::string_view origin, std::string_view host) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (origin.starts_with(scheme) && to_lower(origin.substr(scheme.size())) == host) return true;
  }
  return false;
}

bool is_loopback(std::string_view address) {
  if (address.starts_with('/') || to_lower(address) == "localhost") return true;
  const NumericAddress number = parse_address(address);
  if (number.family == AF_INET) return number.bytes[0] == 127;
  if (number.family != AF_INET6) return false;
  return number.bytes.back() == 1 && std::all_of(number.bytes.begin(), number.bytes.end() - 1,
                                                 [](uint8_t byte) { return byte == 0; });
}

Status check_exposure(const std::vector<std::string>& addresses, const AuthOptions& options) {
  for (const std::vector<std::string>* keys : {&options.keys, &options.admin_keys}) {
    if (std::ranges::find(*keys, "") != keys->end()) {
      return Error{ErrorCode::open_without_key, "a key is empty", "--api-key"};
    }
  }
  if (!options.keys.empty() || options.open_without_key) return {};
  for (const std::string& address : addresses) {
    if (!is_loopback(address)) {
      return Error{ErrorCode::open_without_key, address + " can be reached from other machines",
                   "--host"};
    }
  }
  return {};
}

}  // namespace qvl
