/* A program that knows nothing of Rust: it loads a library and says what that says. */
#include <dlfcn.h>
#include <stdio.h>

int main(int count, char **arguments) {
    void *library = count > 1 ? dlopen(arguments[1], RTLD_NOW) : NULL;
    int (*make_a_pool)(void) = library ? (int (*)(void))dlsym(library, "make_a_pool") : NULL;
    if (!make_a_pool) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    printf("%d", make_a_pool());
    return 0;
}
