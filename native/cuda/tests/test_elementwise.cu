// Quantize, dequantize, packing and per-channel forms: the bits of the CPU core.
#include <cfloat>
#include <climits>

#include "tests.h"

namespace {

constexpr float kScales[] = {1.0f, 0.1f, 0.0123f, 3.0f, FLT_MIN, FLT_TRUE_MIN, 1e30f};

template <typename T, typename Quantize, typename Dequantize, typename CpuQuantize, typename CpuDequantize>
void quantizes(Quantize quantize, Dequantize dequantize, CpuQuantize cpu_quantize, CpuDequantize cpu_dequantize,
               int32_t zero_point) {
  constexpr int32_t kMin = std::numeric_limits<T>::min(), kMax = std::numeric_limits<T>::max();
  std::mt19937 random(5);
  for (const reference::Kind kind : reference::kKinds) {
    for (const float scale : kScales) {
      for (const size_t n : tests::sizes(scale == 0.1f)) {
        for (const size_t offset : {0, 1}) {
          const std::vector<float> x = reference::values(kind, n, random);
          std::vector<T> q(n);
          std::vector<float> back(n);
          CHECK(cpu_quantize(x.data(), n, scale, zero_point, q.data()) == DOPT_OK);
          CHECK(cpu_dequantize(q.data(), n, scale, zero_point, back.data()) == DOPT_OK);
          const DeviceArray<float> on_device(x, offset), back_there(n, offset);
          const DeviceArray<T> q_there(n, offset);
          CHECK(quantize(on_device.get(), n, scale, zero_point, q_there.get(), nullptr) == DOPT_OK);
          CHECK(tests::same(q_there, q));
          CHECK(dequantize(q_there.get(), n, scale, zero_point, back_there.get(), nullptr) == DOPT_OK);
          CHECK(tests::same(back_there, back));
          // Fake quantization is the two in one, also in place.
          CHECK(dopt_cuda_fake_quantize(on_device.get(), n, scale, zero_point, kMin, kMax, on_device.get(), nullptr) ==
                DOPT_OK);
          CHECK(tests::same(on_device, back));
        }
      }
    }
  }
}

void accumulators() {
  std::mt19937 random(6);
  std::uniform_int_distribution<int32_t> any(INT32_MIN, INT32_MAX);
  for (const size_t n : tests::sizes(true)) {
    std::vector<int32_t> acc(n);
    for (int32_t& a : acc) a = random() % 4 == 0 ? any(random) : static_cast<int32_t>(random() % 2000) - 1000;
    const DeviceArray<int32_t> there(acc);
    const DeviceArray<uint8_t> u(n);
    const DeviceArray<int8_t> s(n);
    const DeviceArray<float> f(n);
    std::vector<uint8_t> cpu_u(n);
    std::vector<int8_t> cpu_s(n);
    std::vector<float> cpu_f(n);
    for (const double multiplier : {0.5, 1e-9, 0.00123, -0.25, 0.0, 1e300}) {
      CHECK(dopt_cuda_requantize_i32_u8(there.get(), n, multiplier, 7, u.get(), nullptr) == DOPT_OK);
      CHECK(dopt_cuda_requantize_i32_i8(there.get(), n, multiplier, -5, s.get(), nullptr) == DOPT_OK);
      dopt_requantize_i32_u8(acc.data(), n, multiplier, 7, cpu_u.data());
      dopt_requantize_i32_i8(acc.data(), n, multiplier, -5, cpu_s.data());
      CHECK(tests::same(u, cpu_u));
      CHECK(tests::same(s, cpu_s));
    }
    CHECK(dopt_cuda_dequantize_i32(there.get(), n, 0.37f, 1, f.get(), nullptr) == DOPT_OK);
    dopt_dequantize_i32(acc.data(), n, 0.37f, 1, cpu_f.data());
    CHECK(tests::same(f, cpu_f));
  }
}

void channels() {
  std::mt19937 random(7);
  for (const size_t inner : {0, 1, 3, 16, 33, 5000}) {
    for (const size_t channels : {1, 5}) {
      for (const size_t outer : {0, 1, 4}) {
        const size_t n = outer * channels * inner;
        const std::vector<float> w = reference::values(reference::Kind::kSpecial, n, random);
        std::vector<float> absmax(channels), back(n), fake(n), scales(channels);
        std::vector<int8_t> q(n);
        for (size_t c = 0; c < channels; ++c) scales[c] = 0.01f * static_cast<float>(c + 1);
        const std::vector<int32_t> zeros(channels, 3);
        dopt_channel_absmax(w.data(), outer, channels, inner, absmax.data());
        dopt_quantize_i8_channels(w.data(), outer, channels, inner, scales.data(), q.data());
        dopt_dequantize_i8_channels(q.data(), outer, channels, inner, scales.data(), back.data());
        dopt_fake_quantize_channels(w.data(), outer, channels, inner, scales.data(), zeros.data(), 0, 255, fake.data());
        const DeviceArray<float> there(w), its_scales(scales), its_absmax(channels), its_back(n), its_fake(n);
        const DeviceArray<int8_t> its_q(n);
        const DeviceArray<int32_t> its_zeros(zeros);
        CHECK(dopt_cuda_channel_absmax(there.get(), outer, channels, inner, its_absmax.get(), nullptr) == DOPT_OK);
        CHECK(dopt_cuda_quantize_i8_channels(there.get(), outer, channels, inner, its_scales.get(), its_q.get(), nullptr) ==
              DOPT_OK);
        CHECK(dopt_cuda_dequantize_i8_channels(its_q.get(), outer, channels, inner, its_scales.get(), its_back.get(),
                                               nullptr) == DOPT_OK);
        CHECK(dopt_cuda_fake_quantize_channels(there.get(), outer, channels, inner, its_scales.get(), its_zeros.get(), 0, 255,
                                               its_fake.get(), nullptr) == DOPT_OK);
        CHECK(tests::same(its_absmax, absmax));
        CHECK(tests::same(its_q, q));
        CHECK(tests::same(its_back, back));
        CHECK(tests::same(its_fake, fake));
      }
    }
  }
}

void packing() {
  std::mt19937 random(8);
  for (const size_t n : tests::sizes(true)) {
    for (const size_t offset : {0, 1}) {
      std::vector<int8_t> x(n);
      for (int8_t& v : x) v = static_cast<int8_t>(static_cast<int>(random() % 16) - 8);
      std::vector<uint8_t> packed((n + 1) / 2);
      dopt_pack_int4(x.data(), n, packed.data());
      const DeviceArray<int8_t> there(x, offset), back(n, offset);
      const DeviceArray<uint8_t> its_packed((n + 1) / 2, offset);
      const DeviceArray<uint64_t> outside(1);
      CHECK(dopt_cuda_pack_int4(there.get(), n, its_packed.get(), outside.get(), nullptr) == DOPT_OK);
      CHECK(tests::same(its_packed, packed));
      CHECK(outside.copy()[0] == 0);
      CHECK(dopt_cuda_unpack_int4(its_packed.get(), n, back.get(), nullptr) == DOPT_OK);
      CHECK(tests::same(back, x));
    }
  }
  const DeviceArray<int8_t> bad(std::vector<int8_t>{-9, 7, 8, 127, -8});
  const DeviceArray<uint8_t> packed(3);
  const DeviceArray<uint64_t> outside(1);
  CHECK(dopt_cuda_pack_int4(bad.get(), 5, packed.get(), outside.get(), nullptr) == DOPT_OK);
  CHECK(outside.copy()[0] == 3);
}

}  // namespace

void tests::elementwise() {
  quantizes<uint8_t>(dopt_cuda_quantize_u8, dopt_cuda_dequantize_u8, dopt_quantize_u8, dopt_dequantize_u8, 113);
  quantizes<int8_t>(dopt_cuda_quantize_i8, dopt_cuda_dequantize_i8, dopt_quantize_i8, dopt_dequantize_i8, -3);
  quantizes<uint16_t>(dopt_cuda_quantize_u16, dopt_cuda_dequantize_u16, dopt_quantize_u16, dopt_dequantize_u16, 40000);
  quantizes<int16_t>(dopt_cuda_quantize_i16, dopt_cuda_dequantize_i16, dopt_quantize_i16, dopt_dequantize_i16, 0);
  accumulators();
  channels();
  packing();
}
