// Runs the kernels on the CPU and compares them with slow and obvious twins: a line for each check that fails.

#include "check.h"

int main() {
    check::check_table();
    check::check_units();
    check::check_activation();
    check::check_step();
    if (check::failures == 0) return 0;
    std::printf("%d checks failed\n", check::failures);
    return 1;
}
