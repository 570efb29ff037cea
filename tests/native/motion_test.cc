// Motion against its contracts written out for one pixel and one cell at a time, for machines where only a compiler and
// an emulator are to be had. Exits with 1 and says where on the first difference.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <vector>

#include "motion/motion.h"

namespace arseg {
namespace {

std::mt19937 random_bits(0);

int64_t pick(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_bits); }

void expect(bool condition, const char* what, int64_t height, int64_t width, int64_t index) {
  if (condition) return;
  std::printf("%s, %lldx%lld, element %lld\n", what, static_cast<long long>(width), static_cast<long long>(height),
              static_cast<long long>(index));
  std::exit(1);
}

float component() {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kSpecial[] = {0.5f, 1.5f, -2.5f, 32767, -32767, 1e9f, -1e9f, kInf, -kInf};
  return pick(0, 9) == 0 ? kSpecial[pick(0, 8)] : static_cast<float>(pick(-60, 60)) / 4;
}

int64_t whole(float pixels) {
  const double bounded = std::fmin(std::fmax(static_cast<double>(pixels), -1e6), 1e6), below = std::floor(bounded);
  const double rest = bounded - below;
  const bool up = rest > 0.5 || (rest == 0.5 && std::fmod(below, 2) != 0);
  return static_cast<int64_t>(up ? below + 1 : below);
}

void test_published(int64_t height, int64_t width, int64_t known_count) {
  const int64_t rows = (height + 7) / 8, columns = (width + 7) / 8, pixels = height * width;
  std::vector<Displacement> displacement(static_cast<size_t>(rows * columns)), motion(static_cast<size_t>(pixels));
  std::vector<int8_t> reference(displacement.size());
  for (Displacement& each : displacement) each = {component(), component()};
  for (int8_t& each : reference) each = static_cast<int8_t>(pick(-2, 4));
  std::vector<std::vector<Position>> known(static_cast<size_t>(known_count), std::vector<Position>(motion.size()));
  std::vector<const Position*> frames;
  for (std::vector<Position>& each : known) {
    for (Position& p : each) p = {static_cast<int16_t>(pick(0, width)), static_cast<int16_t>(pick(0, height))};
    frames.push_back(each.data());
  }
  std::vector<Position> positions(motion.size());
  const int done = arseg_published(height, width, rows, columns, displacement.data(), reference.data(), frames.data(),
                                   known_count, positions.data(), motion.data());
  expect(done == 1, "published refuses", height, width, 0);
  for (int64_t i = 0; i < pixels; ++i) {
    const int64_t y = i / width, x = i % width;
    const size_t block = static_cast<size_t>(y / 8 * columns + x / 8);
    const bool intra = reference[block] == -1;
    const int64_t to_x = x + (intra ? 0 : whole(displacement[block].x));
    const int64_t to_y = y + (intra ? 0 : whole(displacement[block].y));
    const int64_t row = std::min(std::max<int64_t>(to_y, 0), height - 1);
    const int64_t column = std::min(std::max<int64_t>(to_x, 0), width - 1);
    const int64_t back = reference[block] < 0 ? 0 : std::min<int64_t>(reference[block], known_count - 1);
    const Position want = known[static_cast<size_t>(back)][static_cast<size_t>(row * width + column)];
    const Position is = positions[static_cast<size_t>(i)];
    const Displacement away = motion[static_cast<size_t>(i)];
    expect(is.x == want.x && is.y == want.y, "published, position", height, width, i);
    expect(away.x == static_cast<float>(want.x - x), "published, dx", height, width, i);
    expect(away.y == static_cast<float>(want.y - y), "published, dy", height, width, i);
  }
}

// A grid of 8x8, 16x8, 8x16 and 16x16 blocks, some beyond the picture, that do not overlap.
void test_vectors(int64_t height, int64_t width) {
  const int64_t rows = (height + 7) / 8, columns = (width + 7) / 8, cells = rows * columns;
  std::vector<VectorRecord> records;
  std::vector<Displacement> want(static_cast<size_t>(2 * cells)), displacement(want.size());
  std::vector<int8_t> wanted_reference(want.size(), -1), reference(want.size());
  for (int64_t top = -16; top < height + 16; top += 16) {
    for (int64_t left = -16; left < width + 16; left += 16) {
      const int64_t w = pick(1, 2) * 8, h = pick(1, 2) * 8, source = pick(-1, 1);
      VectorRecord record{};
      record.source = static_cast<int32_t>(source);
      record.w = static_cast<uint8_t>(w);
      record.h = static_cast<uint8_t>(h);
      record.dst_x = static_cast<int16_t>(left + w / 2);
      record.dst_y = static_cast<int16_t>(top + h / 2);
      record.motion_x = static_cast<int32_t>(pick(-400, 400));
      record.motion_y = static_cast<int32_t>(pick(-400, 400));
      record.motion_scale = 4;
      records.push_back(record);
      for (int64_t i = 0; i < cells && source != 0; ++i) {
        const int64_t y = i / columns * 8, x = i % columns * 8;
        if (y < top || y >= top + h || x < left || x >= left + w) continue;
        const size_t at = static_cast<size_t>(i + (source > 0 ? cells : 0));
        want[at] = {static_cast<float>(record.motion_x) / 4, static_cast<float>(record.motion_y) / 4};
        wanted_reference[at] = 0;
      }
    }
  }
  const int done = arseg_vectors(height, width, rows, columns, records.data(), static_cast<int64_t>(records.size()),
                                 displacement.data(), reference.data());
  expect(done == 1, "vectors refuses", height, width, 0);
  for (size_t i = 0; i < want.size(); ++i) {
    expect(displacement[i].x == want[i].x && displacement[i].y == want[i].y, "vectors, displacement", height, width,
           static_cast<int64_t>(i));
    expect(reference[i] == wanted_reference[i], "vectors, reference", height, width, static_cast<int64_t>(i));
  }
}

}  // namespace
}  // namespace arseg

int main() {
  constexpr int64_t kSizes[][2] = {{1, 1}, {7, 9}, {8, 8}, {1, 40}, {33, 1}, {45, 67}, {64, 96}};
  for (const auto& [height, width] : kSizes) {
    for (const int64_t known_count : {1, 2, 3}) arseg::test_published(height, width, known_count);
    arseg::test_vectors(height, width);
  }
  std::printf("motion: passed\n");
  return 0;
}
