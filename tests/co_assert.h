// ASSERT for coroutines, which GoogleTest's own cannot leave.
#pragma once

#include <gtest/gtest.h>

#define CO_ASSERT(condition)                  \
  do {                                        \
    if (!(condition)) {                       \
      ADD_FAILURE() << "not so: " #condition; \
      co_return;                              \
    }                                         \
  } while (false)

#define CO_ASSERT_OK(result)                                          \
  do {                                                                \
    if (const auto& result_ = (result); !result_) {                   \
      ADD_FAILURE() << #result " gave " << result_.error().to_string(); \
      co_return;                                                      \
    }                                                                 \
  } while (false)
