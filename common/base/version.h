// The program's version, as --version and HELLO say it. Formats have numbers of their own.
#pragma once

namespace understudy {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace understudy
