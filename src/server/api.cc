#include "server/api.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <ctime>
#include <mutex>

#include "core/clock.h"
#include "openai/api_error.h"
#include "openai/chat_request.h"
#include "openai/completion_request.h"
#include "openai/openapi.h"
#include "server/live_reply.h"
#include "text/detokenizer.h"

namespace qvl {
namespace {

/// Bytes of what one picture is cut into, at most.
int64_t most_media_bytes(const Processor& processor) {
  return processor.max_patches() * processor.config().vision.patch_dim();
}

/// A bound beyond the limit takes all there is. 0: no limit.
int64_t at_most(int64_t limit, int64_t bound) { return limit > 0 ? std::min(limit, bound) : bound; }

/// What the queue never takes is a fault of the request, however few bytes it has: 400, not 413.
Error as_refusal(Error error) {
  if (error.code == ErrorCode::request_too_large) error.code = ErrorCode::bad_request;
  return error;
}

}  // namespace

class Api::Impl {
 public:
  Impl(ApiOptions options, const HealthState& health, Metrics& metrics)
      : options_(std::move(options)),
        health_(&health),
        metrics_(&metrics),
        text_pool_(options_.text_threads),
        media_pool_(options_.media_threads) {}

  void add_routes(Router& router);

  void set_engine(std::shared_ptr<AsyncEngine> engine, int64_t context) {
    auto loaded = std::make_shared<Loaded>(Loaded{std::move(engine), options_.model});
    loaded->model.context = context;
    const std::lock_guard lock(mutex_);
    loaded_ = std::move(loaded);
  }

  void publish_metrics();

 private:
  enum class Kind : uint8_t { chat, completion };
  using Prepared = std::vector<PreparedRequest>;
  struct Loaded {
    std::shared_ptr<AsyncEngine> engine;
    ServedModel model;
  };
  using LoadedPtr = std::shared_ptr<const Loaded>;

  /// Null while the model loads.
  LoadedPtr loaded() const {
    const std::lock_guard lock(mutex_);
    return loaded_;
  }

  void refuse(const ResponseWriter& writer, const Error& error) const {
    const int status = http_status(error.code);
    std::vector<HttpHeader> headers;
    if (status == 429 || status == 503) {
      headers.push_back({.name = "retry-after", .value = std::to_string(retry_after_s())});
    }
    writer.respond(status, "application/json", dump(error_json(error)), headers);
  }

  /// Until as many answers have ended as wait now.
  int64_t retry_after_s() const {
    constexpr double kLongest = 60;
    const double rate = ended_per_s_;
    const auto waiting = static_cast<double>(waiting_.load());
    return static_cast<int64_t>(std::clamp(rate > 0 ? waiting / rate : 1.0, 1.0, kLongest));
  }

  /// Runs work(loaded, request, place, writer) on a thread that may take its time; 503 while there
  /// is no engine, 429 at once while there is no place in the queue.
  template <class Work>
  HttpHandler with_engine(Work work) {
    return [this, work](HttpRequest request, const ResponseWriter& writer) {
      const LoadedPtr loaded = this->loaded();
      if (!loaded || health_->get() != Health::ready) {
        return refuse(writer, {ErrorCode::engine_draining, health_name(health_->get()), ""});
      }
      Result<Admission::Ticket> place = loaded->engine->admission().reserve({.answers = 1});
      if (!place) return refuse(writer, place.error());
      const auto held = std::make_shared<std::pair<HttpRequest, Admission::Ticket>>(
          std::move(request), std::move(*place));
      ++preparing_;
      media_pool_.post([this, work, loaded, held, writer] {
        --preparing_;
        if (writer.cancelled()) return;
        work(*loaded, held->first, std::move(held->second), writer);
      });
    };
  }

  void answer(Kind kind, const Loaded& loaded, const HttpRequest& request, Admission::Ticket place,
              const ResponseWriter& writer);
  Result<Prepared> prepare(Kind kind, const Loaded& loaded, const std::string& body,
                           Admission::Ticket& ticket, ReplyOptions& reply);
  void count_tokens(const Loaded& loaded, const HttpRequest& request, Admission::Ticket place,
                    const ResponseWriter& writer);
  void tokenize(const Loaded& loaded, const HttpRequest& request,
                const ResponseWriter& writer) const;
  void detokenize(const HttpRequest& request, const ResponseWriter& writer) const;
  void count_refusal(ErrorCode code) const;
  WireJson models() const;
  WireJson memory() const;

  ApiOptions options_;
  const HealthState* health_;
  Metrics* metrics_;
  mutable std::mutex mutex_;
  LoadedPtr loaded_;  // guarded by mutex_
  std::atomic<int64_t> preparing_ = 0;
  std::atomic<int64_t> waiting_ = 0;
  std::atomic<double> ended_per_s_ = 0;
  EngineStats published_;
  Stopwatch since_published_;
  WorkerPool text_pool_;
  WorkerPool media_pool_;
};

void Api::Impl::count_refusal(ErrorCode code) const {
  if (code == ErrorCode::image_too_large) metrics_->add_media_refusal(MediaRefusal::too_large);
  if (code == ErrorCode::bad_image) metrics_->add_media_refusal(MediaRefusal::not_decodable);
  if (code == ErrorCode::unsupported_image)
    metrics_->add_media_refusal(MediaRefusal::not_supported);
}

Result<Api::Impl::Prepared> Api::Impl::prepare(Kind kind, const Loaded& loaded,
                                               const std::string& body, Admission::Ticket& ticket,
                                               ReplyOptions& reply) {
  const ServedModel& model = loaded.model;
  const WireLimits& limits = options_.parse.fields.limits;
  ReplyHead head{
      .created = std::time(nullptr), .model = model.names[0], .fingerprint = model.fingerprint};
  Admission& admission = loaded.engine->admission();
  Prepared prepared;
  if (kind == Kind::chat) {
    Result<ChatRequest> chat = parse_chat_request(body, options_.parse);
    if (!chat) return chat.error();
    // Bounds: what it really is, is known when its pictures are decoded.
    const auto bytes = static_cast<int64_t>(body.size());
    const auto images = static_cast<int64_t>(chat->images.size());
    const Admission::Limits& most = admission.limits();
    const Status reserved = admission.change(
        ticket,
        {.answers = chat->options.sampling.n,
         .prompt_tokens = at_most(most.prompt_tokens,
                                  images == 0 ? std::min(bytes, model.context) : model.context),
         .media_bytes = at_most(most.media_bytes, images * most_media_bytes(*model.processor))});
    if (!reserved) return as_refusal(reserved.error());
    Result<PreparedRequest> one = prepare_chat(*chat, model, limits);
    if (!one) {
      count_refusal(one.error().code);
      return one.error();
    }
    if (!one->request.media.empty()) {
      metrics_->observe_media(MediaStage::decode, one->media.decode_ms / 1e3);
      metrics_->observe_media(MediaStage::preprocess, one->media.resize_ms / 1e3);
    }
    head.id = make_id("chatcmpl-");
    reply = chat_reply(*chat, *one, std::move(head));
    prepared.push_back(std::move(*one));
  } else {
    Result<CompletionRequest> completion = parse_completion_request(body, options_.parse);
    if (!completion) return completion.error();
    Result<Prepared> all = prepare_completion(*completion, model);
    if (!all) return all.error();
    head.id = make_id("cmpl-");
    reply = completion_reply(*completion, *all, std::move(head));
    prepared = std::move(*all);
  }
  RequestCost cost{.answers = 0};
  for (const PreparedRequest& one : prepared) {
    const RequestCost part = cost_of(one.request);
    cost.answers += part.answers;
    cost.prompt_tokens += part.prompt_tokens;
    cost.media_bytes += part.media_bytes;
  }
  const Status reserved = admission.change(ticket, cost);
  if (!reserved) return as_refusal(reserved.error());
  for (PreparedRequest& one : prepared) {
    one.request.deadline_ms = options_.request_timeout_ms;
    if (!options_.honours_priority) one.request.priority = 0;
    const Status fits = loaded.engine->check(one.request);
    if (!fits) return fits.error();
  }
  return prepared;
}

void Api::Impl::answer(Kind kind, const Loaded& loaded, const HttpRequest& request,
                       Admission::Ticket place, const ResponseWriter& writer) {
  ReplyOptions reply;
  Result<Prepared> prepared = prepare(kind, loaded, request.body, place, reply);
  if (!prepared) {
    place = {};  // before its client may send the next one
    return refuse(writer, prepared.error());
  }
  const bool is_stream = reply.request.stream;
  const int64_t max_tokens = reply.request.max_tokens.value_or(0);
  std::function<void(const FinishedRequest&)> on_finished;
  if (options_.on_finished) {
    on_finished = [this, id = request.id](const FinishedRequest& finished) {
      options_.on_finished(id, finished);
    };
  }
  const auto live = std::make_shared<LiveReply>(
      LiveReply::Parts{.reply = Reply(std::move(reply), loaded.model.processor->tokenizer()),
                       .is_stream = is_stream,
                       .max_tokens = max_tokens,
                       .writer = writer,
                       .pool = &text_pool_,
                       .metrics = metrics_,
                       .on_finished = std::move(on_finished)});
  std::vector<EventStream> streams;
  for (PreparedRequest& one : *prepared) {
    Admission::Ticket part = place.split(cost_of(one.request));
    Result<EventStream> stream =
        loaded.engine->submit(std::move(one.request), std::move(part), live->on_events());
    if (!stream) return refuse(writer, stream.error());
    streams.push_back(std::move(*stream));
  }
  live->begin(std::move(streams));
}

void Api::Impl::count_tokens(const Loaded& loaded, const HttpRequest& request,
                             Admission::Ticket place, const ResponseWriter& writer) {
  ReplyOptions reply;
  const Result<Prepared> prepared = prepare(Kind::chat, loaded, request.body, place, reply);
  place = {};  // before its client may send the next one
  if (!prepared) return refuse(writer, prepared.error());
  const Request& one = prepared->front().request;
  int64_t image_tokens = 0;
  for (const EmbedSpan& span : one.spans) image_tokens += span.rows;
  const auto tokens = static_cast<int64_t>(one.prompt_tokens.size());
  writer.json(200, dump({{"object", "response.input_tokens"},
                         {"input_tokens", tokens},
                         {"input_tokens_details",
                          {{"text_tokens", tokens - image_tokens}, {"image_tokens", image_tokens}}},
                         {"max_model_len", loaded.model.context}}));
}

void Api::Impl::tokenize(const Loaded& loaded, const HttpRequest& request,
                         const ResponseWriter& writer) const {
  Result<nlohmann::json> body = parse_body(request.body, options_.parse.fields.limits);
  if (!body) return refuse(writer, body.error());
  const auto text_of = [&](const char* name) {
    const auto found = body->find(name);
    return found != body->end() && found->is_string() ? found->get_ptr<const std::string*>()
                                                      : nullptr;
  };
  const std::string* const text =
      text_of("prompt") != nullptr ? text_of("prompt") : text_of("content");
  if (text == nullptr) {
    return refuse(writer, {ErrorCode::bad_request, "expected a string", "prompt"});
  }
  const std::vector<int32_t> tokens =
      options_.model.processor->tokenizer().encode(*text, Origin::user);
  writer.json(200, dump({{"count", tokens.size()},
                         {"max_model_len", loaded.model.context},
                         {"tokens", tokens}}));
}

void Api::Impl::detokenize(const HttpRequest& request, const ResponseWriter& writer) const {
  Result<nlohmann::json> body = parse_body(request.body, options_.parse.fields.limits);
  if (!body) return refuse(writer, body.error());
  const Tokenizer& tokenizer = options_.model.processor->tokenizer();
  const auto tokens = body->find("tokens");
  if (tokens == body->end() || !tokens->is_array()) {
    return refuse(writer, {ErrorCode::bad_request, "expected a list of token ids", "tokens"});
  }
  Detokenizer detokenizer(tokenizer, Detokenizer::Special::keep);
  std::string text;
  for (const auto& token : *tokens) {
    if (!token.is_number_unsigned() || token >= tokenizer.size()) {
      return refuse(writer, {ErrorCode::bad_request,
                             "expected ids below " + std::to_string(tokenizer.size()), "tokens"});
    }
    text += detokenizer.push(token.get<int32_t>());
  }
  text += detokenizer.finish();
  writer.json(200, dump({{"prompt", text}}));
}

WireJson Api::Impl::models() const {
  const LoadedPtr loaded = this->loaded();
  const ServedModel& model = loaded ? loaded->model : options_.model;
  WireJson data = WireJson::array();
  for (const std::string& name : model.names) {
    data.push_back({{"id", name},
                    {"object", "model"},
                    {"created", options_.created},
                    {"owned_by", "qvl"},
                    {"root", model.names[0]},
                    {"parent", nullptr},
                    {"max_model_len", model.context},
                    {"architecture",
                     {{"input_modalities", {"text", "image"}}, {"output_modalities", {"text"}}}}});
  }
  return {{"object", "list"}, {"data", data}};
}

WireJson Api::Impl::memory() const {
  const LoadedPtr loaded = this->loaded();
  if (!loaded) return {{"lines", WireJson::array()}};
  AsyncEngine* const engine = loaded->engine.get();
  const MemoryPlan& plan = engine->memory_plan();
  const EngineStats stats = engine->stats();
  WireJson lines = WireJson::array();
  for (const MemoryPlan::Line& line : plan.lines) {
    lines.push_back({{"what", line.what}, {"bytes", line.bytes}, {"detail", line.detail}});
  }
  const auto use = [](const Use& u) {
    return WireJson{{"total", u.total}, {"free", u.free}, {"cached", u.cached}, {"owned", u.owned}};
  };
  const RequestCost reserved = engine->admission().reserved();
  return {{"total_bytes", plan.total_bytes()},
          {"limit_bytes", plan.limit_bytes},
          {"max_model_len", plan.max_model_len},
          {"lines", lines},
          {"notes", plan.notes},
          {"kv_pages", use(stats.pages)},
          {"feature_rows", use(stats.feature_rows)},
          {"requests",
           {{"running", stats.running},
            {"waiting", stats.waiting},
            {"tickets", engine->admission().tickets()},
            {"answers", reserved.answers},
            {"prompt_tokens", reserved.prompt_tokens},
            {"media_bytes", reserved.media_bytes}}}};
}

void Api::Impl::publish_metrics() {
  const LoadedPtr loaded = this->loaded();
  if (!loaded) return;
  const EngineStats now = loaded->engine->stats();
  const EngineStats& before = published_;
  metrics_->set_requests(now.running, now.waiting + preparing_, 0);
  if (now.pages.total > 0) {
    metrics_->set_kv_cache(static_cast<double>(now.pages.owned) /
                           static_cast<double>(now.pages.total));
  }
  metrics_->add_steps(now.steps - before.steps, now.prompt_tokens - before.prompt_tokens,
                      now.prefix_hits - before.prefix_hits,
                      now.generated_tokens - before.generated_tokens);
  metrics_->add_prefix_cache(now.prefix_queries - before.prefix_queries,
                             now.prefix_hits - before.prefix_hits);
  metrics_->add_media_cache(now.feature_queries - before.feature_queries,
                            now.feature_hits - before.feature_hits);
  metrics_->add_encoder_tokens(now.vision_tokens - before.vision_tokens);
  metrics_->add_preemptions(now.preemptions - before.preemptions);
  metrics_->add_corrupted_requests(now.corrupted - before.corrupted);
  const double seconds = since_published_.ms() / 1e3;
  if (seconds > 0) {
    const auto ended = static_cast<double>(now.ended - before.ended);
    constexpr double kOld = 0.8;  // of the rate so far
    ended_per_s_ = kOld * ended_per_s_ + (1 - kOld) * ended / seconds;
  }
  waiting_ = now.waiting + preparing_;
  since_published_ = Stopwatch();
  published_ = now;
}

void Api::Impl::add_routes(Router& router) {
  const auto post = [&](const char* path, HttpHandler handler) {
    router.add({.method = "POST",
                .path = path,
                .access = Access::key,
                .body = BodyRule::json,
                .handler = std::move(handler)});
  };
  const auto get = [&](const char* path, Access access, std::function<std::string()> text) {
    router.add(
        {.method = "GET",
         .path = path,
         .access = access,
         .body = BodyRule::none,
         .handler = [text = std::move(text)](const HttpRequest&, const ResponseWriter& writer) {
           writer.json(200, text());
         }});
  };
  for (const auto& [path, kind] : {std::pair{"/v1/chat/completions", Kind::chat},
                                   std::pair{"/v1/completions", Kind::completion}}) {
    post(path,
         with_engine([this, kind = kind](const Loaded& loaded, const HttpRequest& request,
                                         Admission::Ticket place, const ResponseWriter& writer) {
           answer(kind, loaded, request, std::move(place), writer);
         }));
  }
  post("/v1/chat/completions/input_tokens",
       with_engine([this](const Loaded& loaded, const HttpRequest& request, Admission::Ticket place,
                          const ResponseWriter& writer) {
         count_tokens(loaded, request, std::move(place), writer);
       }));
  for (const char* path : {"/tokenize", "/detokenize"}) {
    const bool forward = std::string_view(path) == "/tokenize";
    post(path, with_engine([this, forward](const Loaded& loaded, const HttpRequest& request,
                                           const Admission::Ticket&, const ResponseWriter& writer) {
           forward ? tokenize(loaded, request, writer) : detokenize(request, writer);
         }));
  }
  get("/v1/models", Access::key, [this] { return dump(models()); });
  get("/version", Access::key, [this] { return dump({{"version", options_.version}}); });
  get("/v1/debug/memory", Access::key, [this] { return dump(memory()); });
  get("/openapi.json", Access::key,
      [this] { return dump(openapi_document(options_.parse.fields.limits, options_.version)); });
}

Api::Api(ApiOptions options, const HealthState& health, Metrics& metrics)
    : impl_(std::make_unique<Impl>(std::move(options), health, metrics)) {}
Api::~Api() = default;
void Api::add_routes(Router& router) { impl_->add_routes(router); }
void Api::set_engine(std::shared_ptr<AsyncEngine> engine, int64_t context) {
  impl_->set_engine(std::move(engine), context);
}
void Api::publish_metrics() { impl_->publish_metrics(); }

}  // namespace qvl
