// Runs CUDA kernels on the CPU: include it before an unmodified .cu file and compile that as C++17.
//
// Blocks run sequentially, on one thread. The threads of a block are fibers that run in turn, each to its next
// __syncthreads. In `descending` order, the last block and the last thread run first: a kernel whose results then
// differ lacks a barrier, or writes to another block's data. A block in which some threads wait at a barrier that
// others never reach would hang on a GPU; here it aborts.
#pragma once

// The checked longjmp refuses to jump to another stack.
#undef _FORTIFY_SOURCE
#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace cuda_on_cpu {

struct Index {
    unsigned x = 0, y = 0, z = 0;
};

inline Index thread_index, block_index, block_size, grid_size;
inline bool descending = false;

// The threads of a block, reused for the next block. Stacks are switched by longjmp, which needs no system call.
class Block {
public:
    explicit Block(unsigned threads) : fibers_(threads) {
        for (unsigned thread = 0; thread < threads; ++thread) start(thread);
    }

    void run(const std::function<void()>& kernel) {
        kernel_ = &kernel;
        for (auto& fiber : fibers_) fiber.barrier = RUNNING;
        do {
            const auto threads = unsigned(fibers_.size());
            for (unsigned i = 0; i < threads; ++i) resume(descending ? threads - 1 - i : i);
            check();
        } while (fibers_[0].barrier != RETURNED);
    }

    // Called by a fiber: yields until all others reach the same barrier.
    void wait(int barrier) {
        auto& fiber = fibers_[thread_index.x];
        fiber.barrier = barrier;
        if (!_setjmp(fiber.place)) _longjmp(scheduler_, 1);
    }

    static Block*& current() {
        static Block* block = nullptr;
        return block;
    }

private:
    static constexpr int RUNNING = 0, RETURNED = -1; // otherwise the line of a __syncthreads
    static constexpr size_t STACK = 64 << 10;
    struct Fiber {
        std::unique_ptr<char[]> stack;
        ucontext_t context;
        jmp_buf place;
        int barrier = RUNNING;
    };

    static void body(unsigned high, unsigned low) {
        auto* block = reinterpret_cast<Block*>(size_t(high) << 32 | low);
        for (;;) {
            block->wait(RETURNED);
            (*block->kernel_)();
        }
    }

    // Enters the fiber and leaves it at the top of its loop.
    void start(unsigned thread) {
        auto& fiber = fibers_[thread];
        fiber.stack.reset(new char[STACK]);
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = STACK;
        const auto self = reinterpret_cast<size_t>(this);
        makecontext(&fiber.context, reinterpret_cast<void (*)()>(body), 2, unsigned(self >> 32), unsigned(self));
        thread_index.x = thread;
        if (!_setjmp(scheduler_)) setcontext(&fiber.context);
    }

    void resume(unsigned thread) {
        thread_index.x = thread;
        if (!_setjmp(scheduler_)) _longjmp(fibers_[thread].place, 1);
    }

    void check() const {
        for (size_t thread = 0; thread < fibers_.size(); ++thread) {
            if (fibers_[thread].barrier == fibers_[0].barrier) continue;
            const auto place = [&](const Fiber& fiber) { return fiber.barrier == RETURNED ? 0 : fiber.barrier; };
            std::fprintf(stderr, "block %u hangs: thread 0 waits at line %d, thread %zu at line %d (0: it returned)\n",
                block_index.x, place(fibers_[0]), thread, place(fibers_[thread]));
            std::abort();
        }
    }

    std::vector<Fiber> fibers_;
    jmp_buf scheduler_;
    const std::function<void()>* kernel_ = nullptr;
};

inline void launch(unsigned grid, unsigned block, const std::function<void()>& kernel) {
    // Shared memory is static here.
    static std::mutex one_at_a_time;
    std::lock_guard<std::mutex> lock(one_at_a_time);
    static std::unique_ptr<Block> threads;
    if (block_size.x != block || !threads) threads = std::make_unique<Block>(block);
    block_size = {block, 1, 1};
    grid_size = {grid, 1, 1};
    Block::current() = threads.get();
    for (unsigned i = 0; i < grid; ++i) {
        block_index.x = descending ? grid - 1 - i : i;
        threads->run(kernel);
    }
}

template <typename... Arguments, size_t... I>
void launch_packed(
    void (*kernel)(Arguments...), unsigned grid, unsigned block, void** params, std::index_sequence<I...>) {
    launch(grid, block, [&] { kernel(*static_cast<std::decay_t<Arguments>*>(params[I])...); });
}

// Like cuLaunchKernel: each of `params` points to an argument.
template <typename... Arguments>
void launch_packed(void (*kernel)(Arguments...), unsigned grid, unsigned block, void** params) {
    launch_packed(kernel, grid, block, params, std::index_sequence_for<Arguments...>{});
}

template <typename To, typename From>
To bits(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To result;
    std::memcpy(&result, &value, sizeof(To));
    return result;
}

} // namespace cuda_on_cpu

#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)
#define __syncthreads() cuda_on_cpu::Block::current()->wait(__LINE__)
#define threadIdx cuda_on_cpu::thread_index
#define blockIdx cuda_on_cpu::block_index
#define blockDim cuda_on_cpu::block_size
#define gridDim cuda_on_cpu::grid_size

inline unsigned atomicAdd(unsigned* to, unsigned value) { return std::exchange(*to, *to + value); }
inline unsigned long long atomicAdd(unsigned long long* to, unsigned long long value) {
    return std::exchange(*to, *to + value);
}
inline double atomicAdd(double* to, double value) { return std::exchange(*to, *to + value); }
inline unsigned __float_as_uint(float value) { return cuda_on_cpu::bits<unsigned>(value); }
inline float __uint_as_float(unsigned value) { return cuda_on_cpu::bits<float>(value); }
inline long long __double_as_longlong(double value) { return cuda_on_cpu::bits<long long>(value); }
inline double __longlong_as_double(long long value) { return cuda_on_cpu::bits<double>(value); }
using std::fma;
using std::sqrt;
