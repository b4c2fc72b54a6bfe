#include "core/threads.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "core/check.h"
#include "core/host.h"

namespace qvl {
namespace {

/// A worker spins this often before it sleeps: a decode step starts a parallel loop every few tens
/// of microseconds, and a futex wake-up costs about as much as the loop itself.
constexpr int kSpins = 4000;

}  // namespace

struct Threads::Pool {
  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<uint64_t> generation{0};
  std::atomic<int> running{0};
  std::atomic<int> sleepers{0};
  std::atomic<bool> stop{false};
  const FunctionRef<void(int)>* job = nullptr;  // written before generation is raised, read after
  std::vector<std::thread> workers;

  void work(int thread) {
    uint64_t seen = 0;
    while (true) {
      uint64_t now = generation.load(std::memory_order_acquire);
      for (int spin = 0; now == seen && spin < kSpins; ++spin) {
        __builtin_ia32_pause();
        now = generation.load(std::memory_order_acquire);
      }
      if (now == seen) {
        std::unique_lock lock(mutex);
        sleepers.fetch_add(1);
        wake.wait(lock, [&] { return generation.load(std::memory_order_acquire) != seen; });
        sleepers.fetch_sub(1);
        now = generation.load(std::memory_order_acquire);
      }
      seen = now;
      if (stop.load()) return;
      (*job)(thread);
      running.fetch_sub(1, std::memory_order_release);
    }
  }

  void start(const FunctionRef<void(int)>& body) {
    job = &body;
    running.store(static_cast<int>(workers.size()), std::memory_order_relaxed);
    generation.fetch_add(1);  // sequentially consistent with the sleepers' count
    if (sleepers.load() > 0 || stop.load()) {
      std::lock_guard lock(mutex);
      wake.notify_all();
    }
  }
};

Threads::Threads(int count) : count_(count > 0 ? count : affinity_cores()) {
  pool_ = std::make_unique<Pool>();
  for (int i = 1; i < count_; ++i) pool_->workers.emplace_back([this, i] { pool_->work(i); });
}

Threads::~Threads() {
  pool_->stop.store(true);
  const auto nothing = [](int) {};
  pool_->start(FunctionRef<void(int)>(nothing));
  for (std::thread& worker : pool_->workers) worker.join();
}

void Threads::parallel_for(int64_t items, Body body) {
  if (items <= 0) return;
  if (count_ == 1 || items == 1) {
    body(0, items, 0);
    return;
  }
  const int64_t n = count_;
  const auto range = [&](int thread) {
    const int64_t first = items * thread / n;
    const int64_t last = items * (thread + 1) / n;
    if (first < last) body(first, last, thread);
  };
  const FunctionRef<void(int)> job(range);
  pool_->start(job);
  range(0);
  while (pool_->running.load(std::memory_order_acquire) != 0) __builtin_ia32_pause();
}

void Threads::parallel_dynamic(int64_t items, int64_t grain, Body body) {
  require(grain > 0, "grain of a parallel loop");
  if (items <= 0) return;
  if (count_ == 1 || items <= grain) {
    body(0, items, 0);
    return;
  }
  std::atomic<int64_t> next{0};
  const auto drain = [&](int thread) {
    while (true) {
      const int64_t first = next.fetch_add(grain, std::memory_order_relaxed);
      if (first >= items) return;
      body(first, std::min(items, first + grain), thread);
    }
  };
  const FunctionRef<void(int)> job(drain);
  pool_->start(job);
  drain(0);
  while (pool_->running.load(std::memory_order_acquire) != 0) __builtin_ia32_pause();
}

}  // namespace qvl
