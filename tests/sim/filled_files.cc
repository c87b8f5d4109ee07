#include "tests/sim/filled_files.h"

#include <vector>

namespace understudy::sim {
namespace {

constexpr Duration kLimit = std::chrono::minutes(10);
constexpr int kAtOnce = 8;

}  // namespace

Task<Status> KeptSink::write(Bytes bytes) {
  content += bytes;
  co_return Status{};
}

Status KeptSink::restart() {
  content.clear();
  return {};
}

Task<Result<Bytes>> GivenSource::read(uint64_t offset, uint32_t size) {
  co_return content_.substr(std::min<size_t>(offset, content_.size()), size);
}

Bytes labelled_content(const std::string& label, uint64_t size) {
  Bytes content = label + "\n";
  SimRandom random(0);
  random = random.split(label);
  while (content.size() < size) {
    uint64_t word = random.next();
    content.append(reinterpret_cast<const char*>(&word), sizeof word);
  }
  content.resize(size);
  return content;
}

struct FilledFiles::Work {
  std::vector<std::pair<std::string, Bytes>> todo;
  size_t next = 0;
  bool checking = false;
  client::Session* session = nullptr;
  std::vector<std::string> wrong;
};

Task<void> FilledFiles::put_some(client::Session* session, Work* work) {
  while (work->next < work->todo.size()) {
    auto [path, content] = work->todo[work->next++];
    GivenSource source(content);
    auto done = co_await session->upload(path, &source, {});
    if (!done) work->wrong.push_back(path + ": " + done.error().to_string());
  }
}

Task<void> FilledFiles::check_some(client::Session* session, Work* work) {
  while (work->next < work->todo.size()) {
    auto [path, content] = work->todo[work->next++];
    KeptSink kept;
    auto done = co_await session->download(path, {}, &kept);
    if (!done) {
      work->wrong.push_back(path + ": " + done.error().to_string());
    } else if (kept.content != content) {
      work->wrong.push_back(path + ": other bytes, " + kept.content.substr(0, kept.content.find('\n')));
    }
  }
}

Task<Unit> FilledFiles::run_all(Env& env, Work* work) {
  TaskGroup tasks(env.executor);
  for (int i = 0; i < kAtOnce; ++i) {
    tasks.spawn(work->checking ? check_some(work->session, work) : put_some(work->session, work));
  }
  co_await tasks.join();
  co_return Unit{};
}

namespace {

std::string told(const std::vector<std::string>& wrong, bool ended) {
  std::string text;
  for (size_t i = 0; i < wrong.size() && i < 5; ++i) text += wrong[i] + "\n";
  if (wrong.size() > 5) text += "and " + std::to_string(wrong.size() - 5) + " more\n";
  return ended ? text : text + "not at its end after 10 minutes\n";
}

}  // namespace

std::string FilledFiles::fill(SimClient& client, const std::string& folder, uint64_t count, uint64_t size) {
  Work work{.session = &client.session()};
  ++rounds_;
  for (uint64_t i = 0; i < count; ++i) {
    std::string path = folder + "/f" + std::to_string(i);
    work.todo.emplace_back(path, labelled_content(path + " round " + std::to_string(rounds_), size));
    files_[path] = work.todo.back().second;
  }
  bool ended = client.await(run_all(client.env(), &work), kLimit).has_value();
  CHECK(ended);  // Else its tasks would outlive `work`.
  return told(work.wrong, ended);
}

std::string FilledFiles::check(SimClient& client) {
  Work work{.checking = true, .session = &client.session()};
  work.todo.assign(files_.begin(), files_.end());
  bool ended = client.await(run_all(client.env(), &work), kLimit).has_value();
  CHECK(ended);
  std::string text = told(work.wrong, ended);
  return text.empty() ? std::to_string(files_.size()) + " files as they were written" : text;
}

}  // namespace understudy::sim
