#include "cli/serve_arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <string_view>

#include "cli/environment.h"
#include "cli/serve_flag_table.h"
#include "cli/serve_flag_values.h"
#include "cli/terminal_text.h"
#include "cli/yaml_config.h"
#include "io/mapped_file.h"

namespace qvl {
namespace {

using Json = nlohmann::ordered_json;

/// The later one counts.
enum class Source { environment, file, command_line };

struct Given {
  const ServeFlag* flag;
  Source source;
  std::string where;  ///< as the user wrote it: "--max_model_len", "serve.yaml:3: port", "QVL_PORT"
  std::vector<std::string> values;
};

/// What a name stands for.
struct Meaning {
  const ServeFlag* flag = nullptr;
  const char* fixed = nullptr;  ///< value of an alias that takes none
  bool is_negated = false;
  std::string path;  ///< "a.b" of --flag.a.b
};

struct Unknown {
  std::string where;
  std::string name;  ///< "--max-modle-len"
};

Error bad(std::string detail, std::string where) {
  return {ErrorCode::bad_flag, std::move(detail), std::move(where)};
}

/// "-1" is a value; "-", too.
bool is_flag(const std::string& word) {
  return word.size() > 1 && word[0] == '-' && word[1] != '.' &&
         std::isdigit(static_cast<unsigned char>(word[1])) == 0;
}

std::string with_dashes(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

const ServeFlag* flag_or_alias(const std::string& name, const char** fixed) {
  if (const ServeFlag* const flag = find_serve_flag(name)) return flag;
  const ServeAlias* const alias = find_serve_alias(name);
  if (alias == nullptr) return nullptr;
  *fixed = alias->value;
  return find_serve_flag(alias->flag);
}

/// `name` with its dashes in front, without a value.
Meaning meaning_of(const std::string& name) {
  Meaning m;
  const size_t dot = name.find('.');
  const std::string head = with_dashes(name.substr(0, dot));
  m.flag = flag_or_alias(head, &m.fixed);
  if (m.flag == nullptr && head.starts_with("--no-")) {
    m.flag = flag_or_alias("--" + head.substr(5), &m.fixed);
    m.is_negated = true;
    if (m.flag != nullptr && (m.flag->kind != FlagKind::boolean || m.fixed != nullptr)) return {};
  }
  if (dot != std::string::npos) {
    if (m.flag == nullptr || m.flag->kind != FlagKind::json || m.fixed != nullptr) return {};
    m.path = name.substr(dot + 1);
  }
  return m;
}

std::optional<bool> truth(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (is_one_of(text, "true|1|yes|on")) return true;
  if (is_one_of(text, "false|0|no|off")) return false;
  return {};
}

/// The strings of a JSON list, or the text itself.
std::vector<std::string> list_values(const std::string& text) {
  const Json list = text.starts_with('[') ? Json::parse(text, nullptr, false) : Json();
  const bool is_list = list.is_array() && std::all_of(list.begin(), list.end(),
                                                      [](const Json& e) { return e.is_string(); });
  if (!is_list) return {text};
  return list.get<std::vector<std::string>>();
}

/// Levenshtein's.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = i;
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

/// Empty if none is near.
std::string nearest(const std::string& name) {
  constexpr size_t kLongest = 64;  // no flag is longer
  if (name.size() > kLongest) return "";
  std::string best;
  size_t best_distance = std::max<size_t>(2, name.size() / 4) + 1;
  const auto consider = [&](std::string_view known) {
    const size_t d = distance(name, known);
    if (d >= best_distance) return;
    best_distance = d;
    best = known;
  };
  for (const ServeFlag& flag : serve_flags()) consider(flag.name);
  for (const ServeAlias& alias : serve_aliases()) consider(alias.name);
  return best;
}

/// Sets a part of an object: path "a.b", any JSON or a word.
Status set_part(std::string& object, const std::string& path, const std::string& value) {
  Result<Json> root = parse_flag_object(object);
  if (!root) return root.error();
  Json* at = &*root;
  constexpr int kMaxDepth = 16;
  size_t begin = 0;
  for (int depth = 0; begin <= path.size(); ++depth) {
    const size_t end = std::min(path.find('.', begin), path.size());
    if (depth == kMaxDepth || end == begin || !(at->is_object() || at->is_null())) {
      return bad(fmt::format("found '{}', expected names with dots between them", path), "");
    }
    at = &(*at)[path.substr(begin, end - begin)];
    begin = end + 1;
  }
  const Result<Json> json = parse_flag_json(value);
  *at = json ? *json : Json(value);
  object = root->dump(-1, ' ', false, Json::error_handler_t::replace);
  return {};
}

class Reader {
 public:
  Status read_command_line(const std::vector<std::string>& words);
  Status read_file_of_settings();
  Status read_environment_variables();
  Result<ServeArguments> finish();

 private:
  const Given* find(std::string_view name) const;
  Status add(const Meaning& meaning, Source source, const std::string& where,
             std::vector<std::string> values);
  Status add_switch(const Meaning& meaning, Source source, const std::string& where,
                    const std::string& value);
  /// A flag at words[i]; moves i behind it and its values.
  Status read_flag(const std::vector<std::string>& words, size_t& i);
  Status choose_model();
  Status check_unknown(ServeArguments& out) const;
  Status expand_processor_kwargs(ServeArguments& out);
  Status emit(const Given& given, ServeArguments& out) const;

  std::vector<Given> given_;
  std::vector<Unknown> unknown_;
  std::vector<std::string> words_;          ///< that can only be the model
  std::vector<std::string> unclear_words_;  ///< behind unknown flags
};

const Given* Reader::find(std::string_view name) const {
  const auto it = std::find_if(given_.begin(), given_.end(),
                               [&](const Given& g) { return g.flag->name == name; });
  return it == given_.end() ? nullptr : &*it;
}

Status Reader::add(const Meaning& meaning, Source source, const std::string& where,
                   std::vector<std::string> values) {
  const ServeFlag& flag = *meaning.flag;
  if (flag.kind == FlagKind::list) {
    std::vector<std::string> all;
    for (const std::string& value : values) {
      for (std::string& element : list_values(value)) all.push_back(std::move(element));
    }
    values = std::move(all);
  } else if (values.size() != 1) {
    return bad(fmt::format("found {} values, expected one", values.size()), where);
  }
  auto it =
      std::find_if(given_.begin(), given_.end(), [&](const Given& g) { return g.flag == &flag; });
  if (it != given_.end() && it->source > source) return {};
  if (it == given_.end()) it = given_.insert(it, {&flag, source, where, {}});
  if (it->source < source) *it = {&flag, source, where, {}};
  if (!meaning.path.empty()) {
    if (it->values.empty()) it->values = {"{}"};
    const Status set = set_part(it->values[0], meaning.path, values[0]);
    return set ? set : bad(set.error().detail, where);
  }
  if (flag.kind == FlagKind::list) {
    it->values.insert(it->values.end(), values.begin(), values.end());
  } else {
    it->where = where;
    it->values = std::move(values);
  }
  return {};
}

Status Reader::add_switch(const Meaning& meaning, Source source, const std::string& where,
                          const std::string& value) {
  const std::optional<bool> on = truth(value);
  if (!on) return bad(fmt::format("found '{}', expected true or false", value), where);
  if (meaning.fixed != nullptr) {
    return *on ? add(meaning, source, where, {meaning.fixed}) : Status();
  }
  return add(meaning, source, where, {*on != meaning.is_negated ? "true" : "false"});
}

Status Reader::read_flag(const std::vector<std::string>& words, size_t& i) {
  const std::string& word = words[i++];
  const size_t equals = word.find('=');
  std::string name = word.substr(0, equals);
  std::optional<std::string> value;
  if (equals != std::string::npos) value = word.substr(equals + 1);
  const auto has_word = [&] { return i < words.size() && !is_flag(words[i]); };
  if (name.starts_with("-O") && name.size() > 2) {  // -O2, -O.level
    name = "-O";
    if (!value && word[2] != '.') value = word.substr(2);
  }

  const Meaning meaning = meaning_of(name);
  if (meaning.flag == nullptr) {
    unknown_.push_back({name, with_dashes(name)});
    while (!value && has_word()) unclear_words_.push_back(words[i++]);
    return {};
  }
  const FlagKind kind = meaning.flag->kind;
  if (kind == FlagKind::boolean || meaning.fixed != nullptr) {
    if (!value && has_word() && is_one_of(words[i], "true|false|True|False")) value = words[i++];
    return add_switch(meaning, Source::command_line, name, value.value_or("true"));
  }
  std::vector<std::string> values;
  if (value) {
    values.push_back(*value);
  } else {
    while (has_word() && (values.empty() || kind == FlagKind::list)) values.push_back(words[i++]);
  }
  if (values.empty()) return bad("expected a value behind it", name);
  return add(meaning, Source::command_line, name, std::move(values));
}

Status Reader::read_command_line(const std::vector<std::string>& words) {
  size_t i = 0;
  while (i < words.size()) {
    if (words[i] == "--") {
      words_.insert(words_.end(), words.begin() + static_cast<std::ptrdiff_t>(i) + 1, words.end());
      break;
    }
    if (!is_flag(words[i])) {
      words_.push_back(words[i++]);
      continue;
    }
    Status read = read_flag(words, i);
    if (!read) return read;
  }
  return {};
}

Status Reader::read_file_of_settings() {
  const Given* const config = find("--config");
  const std::string variable = environment_variable("--config");
  const char* const from_environment = std::getenv(variable.c_str());
  std::string path;
  if (config != nullptr) {
    path = config->values[0];
  } else if (from_environment != nullptr) {
    path = from_environment;
  }
  if (path.empty()) return {};
  constexpr size_t kMaxBytes = 64 << 10;
  const Result<std::string> text = read_file(path, kMaxBytes);
  if (!text) return text.error();
  const auto settings = parse_yaml_settings(*text, path);
  if (!settings) return settings.error();
  for (const YamlSetting& setting : *settings) {
    const std::string where = fmt::format("{}:{}: {}", path, setting.line, setting.name);
    const Meaning meaning = meaning_of("--" + setting.name);
    if (meaning.flag == nullptr) {
      unknown_.push_back({where, "--" + with_dashes(setting.name)});
      continue;
    }
    if (meaning.flag->name == "--config") return bad("found a file in a file", where);
    const bool is_switch = meaning.flag->kind == FlagKind::boolean || meaning.fixed != nullptr;
    Status added = is_switch && setting.values.size() == 1
                       ? add_switch(meaning, Source::file, where, setting.values[0])
                       : add(meaning, Source::file, where, setting.values);
    if (!added) return added;
  }
  return {};
}

Status Reader::read_environment_variables() {
  for (const ServeFlag& flag : serve_flags()) {
    const std::string variable = environment_variable(flag.name);
    const char* const value = std::getenv(variable.c_str());
    if (value == nullptr || *value == '\0') continue;
    const Meaning meaning{.flag = &flag};
    Status added = flag.kind == FlagKind::boolean
                       ? add_switch(meaning, Source::environment, variable, value)
                       : add(meaning, Source::environment, variable, {value});
    if (!added) return added;
  }
  return {};
}

Status Reader::choose_model() {
  const Given* const model = find("--model");
  if (words_.empty() && model == nullptr && unclear_words_.size() == 1) words_ = unclear_words_;
  if (words_.size() > 1) {
    return bad(fmt::format("found '{}' and '{}', expected one MODEL", words_[0], words_[1]), "");
  }
  if (words_.empty()) {
    if (model != nullptr) return {};
    return bad(unclear_words_.empty()
                   ? "found no MODEL, expected one, such as Qwen/Qwen3-VL-2B-Instruct; behind a "
                     "flag that takes a list write --model MODEL"
                   : fmt::format("found no MODEL but '{}' and '{}' behind unknown flags; write "
                                 "--model MODEL",
                                 unclear_words_[0], unclear_words_[1]),
               "");
  }
  if (model != nullptr && model->source == Source::command_line && model->values != words_) {
    return bad(fmt::format("found '{}' and {} '{}', expected one MODEL", words_[0], model->where,
                           model->values[0]),
               "");
  }
  return add({.flag = find_serve_flag("--model")}, Source::command_line, "MODEL", words_);
}

Status Reader::check_unknown(ServeArguments& out) const {
  const Given* const strict = find("--strict-args");
  const bool is_strict = strict != nullptr && strict->values[0] == "true";
  for (const Unknown& unknown : unknown_) {
    const std::string near = nearest(unknown.name);
    const std::string hint = near.empty() ? "" : fmt::format("; did you mean {}?", near);
    if (is_strict) return bad("found an unknown flag" + hint, unknown.where);
    out.warnings.push_back(fmt::format("{} is not known and has no effect{}", unknown.where, hint));
  }
  return {};
}

/// vLLM gives limits of pictures as arguments of its image processor.
Status Reader::expand_processor_kwargs(ServeArguments& out) {
  const Given* const found = find("--mm-processor-kwargs");
  if (found == nullptr) return {};
  const Given kwargs = *found;
  const Result<Json> object = parse_flag_object(kwargs.values[0]);
  if (!object) return bad(object.error().detail, kwargs.where);
  const auto read = [&](const std::string& key, const Json& value) -> Status {
    const bool is_min = is_one_of(key, "min_pixels|size.shortest_edge");
    if (!is_min && !is_one_of(key, "max_pixels|size.longest_edge")) {
      out.warnings.push_back(
          fmt::format("{}: {} is not known and has no effect", kwargs.where, key));
      return {};
    }
    if (!value.is_number_unsigned()) {
      return bad(fmt::format("found {} {}, expected a number of pixels", key,
                             value.dump(-1, ' ', false, Json::error_handler_t::replace)),
                 kwargs.where);
    }
    const char* const name = is_min ? "--min-pixels" : "--max-pixels";
    const Given* const own = find(name);
    if (own != nullptr && own->source == kwargs.source) return {};
    return add({.flag = find_serve_flag(name)}, kwargs.source, kwargs.where, {value.dump()});
  };
  for (const auto& [key, value] : object->items()) {
    if (key == "size" && value.is_object()) {
      for (const auto& [edge, pixels] : value.items()) {
        if (Status status = read("size." + edge, pixels); !status) return status;
      }
    } else if (Status status = read(key, value); !status) {
      return status;
    }
  }
  return {};
}

Status Reader::emit(const Given& given, ServeArguments& out) const {
  const ServeFlag& flag = *given.flag;
  if (flag.treatment == Treatment::warn || flag.treatment == Treatment::refuse) {
    const bool is_harmless =
        std::all_of(given.values.begin(), given.values.end(),
                    [&](const std::string& value) { return is_one_of(value, flag.values); });
    if (is_harmless) return {};
    if (flag.treatment == Treatment::refuse) return bad(flag.text, given.where);
    out.warnings.push_back(fmt::format("{} has no effect: {}", given.where, flag.text));
    return {};
  }
  if (flag.treatment == Treatment::accept ||
      is_one_of(flag.name, "--config|--mm-processor-kwargs")) {
    return {};
  }
  std::vector<std::string> values = given.values;
  if (flag.translate != nullptr) {
    Result<std::string> translated = flag.translate(values[0]);
    if (!translated) return bad(translated.error().detail, given.where);
    values = {*translated};
  }
  ServeFlags scratch;
  const Status valid = set_serve_flag(scratch, flag, values);
  if (!valid) return bad(valid.error().detail, given.where);
  if (flag.kind == FlagKind::boolean) {
    out.arguments.push_back(flag.name + "=" + values[0]);
    return {};
  }
  for (std::string& value : values) {
    out.arguments.push_back(flag.name);
    out.arguments.push_back(std::move(value));
  }
  return {};
}

Result<ServeArguments> Reader::finish() {
  ServeArguments out;
  for (const Status& status : {check_unknown(out), choose_model(), expand_processor_kwargs(out)}) {
    if (!status) return status.error();
  }
  for (const Given& given : given_) {
    const Status emitted = emit(given, out);
    if (!emitted) return emitted.error();
  }
  for (std::string& warning : out.warnings) warning = one_line(warning);
  return out;
}

}  // namespace

Result<ServeArguments> serve_arguments(const std::vector<std::string>& arguments) {
  for (const std::string& word : arguments) {
    if (word == "-h" || word.starts_with("--help")) return ServeArguments{{"--help"}, {}};
  }
  Reader reader;
  if (const Status read = reader.read_command_line(arguments); !read) return read.error();
  if (const Status read = reader.read_file_of_settings(); !read) return read.error();
  if (const Status read = reader.read_environment_variables(); !read) return read.error();
  return reader.finish();
}

}  // namespace qvl
