// What callers of the shared library see of it.

#pragma once

#if defined(_WIN32)
#define ARSEG_EXPORT extern "C" __declspec(dllexport)
#else
#define ARSEG_EXPORT extern "C" __attribute__((visibility("default")))
#endif
