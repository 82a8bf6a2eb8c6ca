// Runs the kernels on the CPU and compares them with slow reference implementations; prints one line per failed check.

#include "check.h"

int main() {
    check::check_table();
    check::check_units();
    check::check_activation();
    check::check_step();
    check::check_guesses();
    check::check_pixels();
    if (check::failures == 0) return 0;
    std::printf("%d checks failed\n", check::failures);
    return 1;
}
