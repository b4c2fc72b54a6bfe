#include "qvl/error.h"

#include <array>

#include "core/check.h"

namespace qvl {
namespace {

constexpr std::array kErrors = {
    ErrorInfo{ErrorCode::file_not_found, "file_not_found", "no such file or folder",
              "check the path"},
    ErrorInfo{ErrorCode::file_unreadable, "file_unreadable", "the file cannot be read",
              "check its permissions and that it is a regular file"},
    ErrorInfo{ErrorCode::file_too_large, "file_too_large", "the file is too large",
              "check that it is the file you meant"},
    ErrorInfo{ErrorCode::bad_json, "bad_json", "not valid JSON",
              "repair the file, or download it again"},
    ErrorInfo{ErrorCode::bad_config, "bad_config", "the model's configuration is not usable",
              "use the config.json that came with the checkpoint"},
    ErrorInfo{ErrorCode::unsupported_model, "unsupported_model", "this model is not supported",
              "use a Qwen3-VL checkpoint in BF16, F16 or F32"},
    ErrorInfo{ErrorCode::bad_checkpoint, "bad_checkpoint", "the checkpoint file is damaged",
              "download it again; an interrupted download is the usual cause"},
    ErrorInfo{ErrorCode::missing_tensor, "missing_tensor", "the checkpoint lacks a tensor",
              "check that all shards are there and belong to this config.json"},
    ErrorInfo{ErrorCode::bad_tensor, "bad_tensor", "a tensor of the checkpoint is not usable",
              "check that the weights belong to this config.json, or download them again"},
    ErrorInfo{ErrorCode::bad_tokenizer, "bad_tokenizer", "tokenizer.json is not usable",
              "use the tokenizer.json that came with the checkpoint"},
    ErrorInfo{ErrorCode::bad_template, "bad_template", "the chat template cannot be used",
              "use the chat template that came with the checkpoint"},
    ErrorInfo{ErrorCode::template_limit, "template_limit",
              "the chat template does not come to an end within its limits",
              "shorten the conversation, or use the checkpoint's own template"},
    ErrorInfo{ErrorCode::bad_messages, "bad_messages", "the conversation is not usable",
              "send a list of messages, each with a role and a content"},
    ErrorInfo{ErrorCode::bad_image, "bad_image", "the picture cannot be decoded",
              "check that the file is complete; saving it again as PNG often helps"},
    ErrorInfo{ErrorCode::image_too_large, "image_too_large", "the picture is too large",
              "scale it down first"},
    ErrorInfo{ErrorCode::unsupported_image, "unsupported_image",
              "this kind of picture is not supported", "convert it to PNG or JPEG"},
    ErrorInfo{ErrorCode::bad_video, "bad_video", "the video cannot be used",
              "give a folder with at least two pictures of equal size"},
    ErrorInfo{ErrorCode::bad_sampling, "bad_sampling", "a sampling parameter is out of range",
              "choose a value within the range"},
    ErrorInfo{ErrorCode::prompt_empty, "prompt_empty", "there is nothing to answer",
              "give a text, a picture or both"},
    ErrorInfo{ErrorCode::prompt_too_long, "prompt_too_long",
              "the prompt and its answer exceed the maximum context length",
              "shorten the prompt, scale pictures down, or raise --max-model-len"},
    ErrorInfo{ErrorCode::queue_full, "queue_full", "too many requests are waiting",
              "try again later"},
    ErrorInfo{ErrorCode::no_finite_logits, "no_finite_logits", "the model gave no finite number",
              "check the weights with qvl parity, or try --dtype float32"},
    ErrorInfo{ErrorCode::does_not_fit, "does_not_fit", "the model does not fit into memory",
              "choose a smaller model, a shorter --max-model-len or a smaller --max-pixels"},
    ErrorInfo{ErrorCode::bad_reference, "bad_reference", "the reference case is not usable",
              "make it again with tools/make_reference.py"},
    ErrorInfo{ErrorCode::unsupported_cpu, "unsupported_cpu", "this processor is too old",
              "use a machine with AVX2, FMA and F16C"},
    ErrorInfo{ErrorCode::bad_flag, "bad_flag", "the command line is not usable", "see --help"},
    ErrorInfo{ErrorCode::write_failed, "write_failed", "the file cannot be written",
              "check the folder, its permissions and the free space"},
    ErrorInfo{ErrorCode::bad_image_options, "bad_image_options",
              "the limits of a picture's size cannot be used",
              "give areas in pixels, such as 65536 and 1048576"},
    ErrorInfo{ErrorCode::model_not_found, "model_not_found", "this model is not on this machine",
              "qvl itself downloads nothing; give a checkpoint folder or fetch the model first"},
    ErrorInfo{ErrorCode::model_incomplete, "model_incomplete",
              "the download of this model is not complete",
              "fetch the rest; what is there already is not downloaded again"},
    ErrorInfo{ErrorCode::bad_text, "bad_text", "the text is not valid UTF-8",
              "convert it to UTF-8, for instance with iconv"},
    ErrorInfo{ErrorCode::remote_input, "remote_input", "addresses on the network are not read yet",
              "download the file and give its path"},
    ErrorInfo{ErrorCode::bad_command, "bad_command", "the command is not usable",
              "/help lists the commands"},
    ErrorInfo{
        ErrorCode::context_full, "context_full", "the conversation fills the context",
        "ask for less, /clear, or begin again with a larger --max-model-len; what was said is "
        "kept"},
    ErrorInfo{ErrorCode::engine_failed, "engine_failed", "the engine has stopped",
              "start it again; if it stops again, please report the message"},
    ErrorInfo{ErrorCode::engine_draining, "engine_draining", "the engine is shutting down",
              "send the request to another one, or again later"},
    ErrorInfo{ErrorCode::bad_request, "bad_request", "the request is not usable",
              "correct it and send it again"},
    ErrorInfo{ErrorCode::unsupported_field, "unsupported_field", "this is not supported",
              "leave it out"},
    ErrorInfo{ErrorCode::unknown_model, "unknown_model", "this model is not served here",
              "leave the field out, or name the model that is loaded"},
    ErrorInfo{ErrorCode::request_too_large, "request_too_large", "the request is too large",
              "split it, or scale its pictures down"},
    ErrorInfo{ErrorCode::listen_failed, "listen_failed", "the server cannot listen there",
              "choose another --host or --port, or stop the program that has it"},
    ErrorInfo{ErrorCode::open_without_key, "open_without_key",
              "the server would be open to other machines without a key",
              "set --api-key, or listen on 127.0.0.1"},
    ErrorInfo{ErrorCode::bad_settings, "bad_settings", "the file of settings is not usable",
              "write one flag a line without its dashes, such as max-model-len: 32k"},
    ErrorInfo{ErrorCode::no_gpu, "no_gpu", "no GPU can be used",
              "look at `qvl doctor`, or use --device cpu"},
};

constexpr bool table_is_in_enum_order() {
  for (size_t i = 0; i < kErrors.size(); ++i) {
    if (static_cast<size_t>(kErrors[i].code) != i) return false;
  }
  return true;
}
static_assert(table_is_in_enum_order());

/// Names of foreign files may hold anything; a message is one printable line.
void append_one_line(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      out += c;
    } else {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
}

}  // namespace

const ErrorInfo& error_info(ErrorCode code) {
  const auto index = static_cast<size_t>(code);
  require(index < kErrors.size(), "error code outside the table");
  return kErrors[index];
}

std::string Error::message() const {
  const ErrorInfo& info = error_info(code);
  std::string out;
  if (!field.empty()) {
    append_one_line(out, field);
    out += ": ";
  }
  out += info.text;
  if (!detail.empty()) {
    out += ": ";
    append_one_line(out, detail);
  }
  out += "; ";
  out += info.advice;
  return out;
}

}  // namespace qvl
