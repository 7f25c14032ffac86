// Jobs in pieces (src/pieces.h) with members that are late: `pieces NAME` runs a case, its exit code is 0
// where all holds. Nothing here depends on time: a late member waits for what the others do.
#include "pieces.h"
#include "topology.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

using uc::Pieces;
using uc::Team;

bool check(bool holds, const char* what) {
  if (!holds) std::fprintf(stderr, "%s\n", what);
  return holds;
}

void wait_for(const std::atomic<int>& value, int least) {
  while (value.load() < least) std::this_thread::yield();
}

// Every item of every job is done once, and a job begins when the one before is done. Jobs are counted
// from `first_job` on.
bool all_items_once_from(uint32_t first_job) {
  bool fine = true;
  for (int threads : {1, 2, 3, 7}) {
    uc::set_num_threads(threads);
    uc::parallel([](const Team&) {});
    uc::reset_pieces(0, {threads}, first_job);
    const int counts[] = {1, 0, 5, 64, 1000, 7, 2}, grains[] = {1, 3, 1, 7, 16, 100, 1};
    std::vector<std::atomic<int>> done(8);
    std::vector<std::vector<std::atomic<int>>> items;
    for (int count : counts) items.emplace_back(count);
    std::atomic<bool> in_order{true};
    uc::parallel([&](const Team& team) {
      for (int job = 0; job < 7; ++job) {
        Pieces pieces(team, counts[job], grains[job]);
        for (int64_t begin, end; pieces.next(&begin, &end);) {
          if (job > 0 && done[job - 1] != counts[job - 1]) in_order = false;
          if (end - begin > grains[job]) in_order = false;
          for (int64_t item = begin; item < end; ++item) ++items[job][item];
          done[job] += int(end - begin);
        }
        int total = 0;
        for (auto& item : items[job]) total += item;
        if (total != counts[job]) in_order = false;
      }
    });
    for (auto& job : items) {
      for (auto& item : job) fine = check(item == 1, "an item was not done once") && fine;
    }
    fine = check(in_order, "a job began before the last was done, or ended early") && fine;
  }
  return fine;
}

bool all_items_once() { return all_items_once_from(0); }

bool numbers_of_jobs_wrap_around() {
  return all_items_once_from(0x7ffffffd) & all_items_once_from(0xfffffffd);
}

// A member that stays in its first piece until the other is done with the whole job.
bool late_members_hold_nobody_up() {
  uc::set_num_threads(2);
  std::atomic<int> behind{0}, taken{0};
  std::vector<int> values(30);
  uc::parallel([&](const Team& team) {
    Pieces pieces(team, 30, 2, 1);
    for (int64_t begin, end; pieces.next(&begin, &end);) {
      if (team.id == 1 && taken++ == 0) wait_for(behind, 1);
      if (team.id == 0) wait_for(taken, 1);
      for (; begin < end; ++begin) __atomic_store_n(&values[begin], 1, __ATOMIC_RELAXED);
    }
    ++behind;
  });
  int sum = 0;
  for (int value : values) sum += value;
  return check(taken == 1, "member 1 took other pieces") & check(sum == 30, "a piece was not done");
}

// Others go on for `reach` jobs, and wait with the next one until the late member is through.
bool nobody_is_further_than_the_reach() {
  uc::set_num_threads(2);
  constexpr int kReach = 3, kJobs = 9;
  std::atomic<int> begun{-1}, seen{-1}, taken{0};
  uc::parallel([&](const Team& team) {
    for (int job = 0; job < kJobs; ++job) {
      Pieces pieces(team, 16, 1, kReach);
      for (int64_t begin, end; pieces.next(&begin, &end);) {
        for (int known = begun; known < job && !begun.compare_exchange_weak(known, job);) {}
        if (team.id == 0) wait_for(taken, 1);
        if (team.id == 0 || taken++) continue;
        wait_for(begun, kReach);
        for (int i = 0; i < 1000; ++i) std::this_thread::yield();
        seen = begun.load();
      }
    }
  });
  return check(seen == kReach, "a job began too early") &
         check(begun == kJobs - 1, "jobs were left out");
}

// A piece that may not be done again is not.
bool others_wait_where_a_piece_is_done_once() {
  uc::set_num_threads(2);
  std::vector<std::atomic<int>> items(8);
  std::atomic<int> left{8};
  bool fine = true;
  uc::parallel([&](const Team& team) {
    Pieces pieces(team, 8, 1);
    for (int64_t begin, end; pieces.next(&begin, &end);) {
      if (begin == 4) {
        while (left > 1) std::this_thread::yield();
        for (int i = 0; i < 1000; ++i) std::this_thread::yield();
      }
      ++items[begin];
      --left;
    }
  });
  for (auto& item : items) fine = check(item == 1, "a piece was done again") && fine;
  return fine;
}

// `pieces nodes ROOT THREADS PROCESSOR...`: a line a node, its threads and its processors among these.
int print_nodes(int count, char** arguments) {
  std::vector<int> allowed;
  for (int i = 4; i < count; ++i) allowed.push_back(std::atoi(arguments[i]));
  const auto nodes = uc::memory_nodes(arguments[2], allowed);
  const auto threads = uc::divide_threads(std::atoi(arguments[3]), nodes);
  for (size_t i = 0; i < threads.size(); ++i) {
    std::printf("%d:", threads[i]);
    for (int processor : i < nodes.size() ? nodes[i] : std::vector<int>()) {
      std::printf(" %d", processor);
    }
    std::printf("\n");
  }
  return 0;
}

// One member alone does all: its own share, those of its node, and then the others'.
bool the_own_node_is_helped_first() {
  uc::set_num_threads(4);
  uc::parallel([](const Team&) {});
  uc::reset_pieces(0, {2, 2});
  std::atomic<int> last{0};
  std::vector<int> order;
  uc::parallel([&](const Team& team) {
    if (team.id != 2) wait_for(last, 1);
    Pieces pieces(team, 8, 1);
    for (int64_t begin, end; pieces.next(&begin, &end);) {
      order.push_back(int(begin));
      if (order.size() == 8) last = 1;
    }
  });
  return check(order == std::vector<int>{4, 5, 6, 7, 0, 1, 2, 3}, "in another order");
}

struct Case {
  const char* name;
  bool (*run)();
};
constexpr Case kCases[] = {
    {"all_items_once", all_items_once},
    {"numbers_of_jobs_wrap_around", numbers_of_jobs_wrap_around},
    {"late_members_hold_nobody_up", late_members_hold_nobody_up},
    {"nobody_is_further_than_the_reach", nobody_is_further_than_the_reach},
    {"the_own_node_is_helped_first", the_own_node_is_helped_first},
    {"others_wait_where_a_piece_is_done_once", others_wait_where_a_piece_is_done_once},
};

}  // namespace

int main(int count, char** arguments) {
  if (count > 3 && !std::strcmp(arguments[1], "nodes")) return print_nodes(count, arguments);
  for (const Case& one : kCases) {
    if (count == 2 && std::strcmp(one.name, arguments[1]) == 0) return one.run() ? 0 : 1;
  }
  return 2;
}
