#include "cli/batch_progress.h"

#include <gtest/gtest.h>

namespace qvl {
namespace {

TEST(BatchProgress, SaysWhatIsDoneAndWhatIsLeft) {
  BatchCounts counts{.total = 100};
  EXPECT_EQ(batch_progress_text(counts, 0), "0/100 requests  0.0 tok/s");
  counts = {.total = 100, .skipped = 50, .answered = 9, .errors = 1, .completion_tokens = 345};
  EXPECT_EQ(batch_progress_text(counts, 10), "60/100 requests  1 error  34.5 tok/s  0:40 left");
  EXPECT_EQ(batch_progress_text(counts, 1000), "60/100 requests  1 error  0.3 tok/s  1:06:40 left");
}

TEST(BatchProgress, TheSummaryAddsUp) {
  EXPECT_EQ(batch_summary_text({.total = 100,
                                .skipped = 2,
                                .answered = 97,
                                .errors = 1,
                                .prompt_tokens = 5678,
                                .completion_tokens = 1234},
                               40),
            "100 requests: 97 answered, 1 error, 2 done before; 5678 tokens of prompt, 1234 of "
            "answer in 40.0 s, 30.9 tok/s");
  EXPECT_EQ(batch_summary_text({.total = 1, .answered = 1}, 0),
            "1 request: 1 answered, 0 errors; 0 tokens of prompt, 0 of answer in 0.0 s, 0.0 tok/s");
}

}  // namespace
}  // namespace qvl
