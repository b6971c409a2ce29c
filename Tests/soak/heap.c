// Preloaded into jotd by the soak: counts what is allocated and not freed. Unlike resident memory
// this knows neither the machine nor what lies between the blocks, so that small leaks show in it.
//
// HEAP_COUNTS is a file of at least one page; its first eight bytes are the bytes that live, as
// malloc(3) and its kin gave them (valloc(3) is nowhere used). Programs that jotd starts count only
// until they execute.
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

// What glibc calls its own functions.
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

// Counts until the file is there.
static atomic_long early;
static atomic_long *bytes = &early;

static void add(void *block, long sign) {
    if (block) atomic_fetch_add(bytes, sign * (long)malloc_usable_size(block));
}

static void *counted(void *block) {
    add(block, 1);
    return block;
}

void *malloc(size_t size) { return counted(__libc_malloc(size)); }
void *calloc(size_t number, size_t size) { return counted(__libc_calloc(number, size)); }
void *memalign(size_t to, size_t size) { return counted(__libc_memalign(to, size)); }
void *aligned_alloc(size_t to, size_t size) { return memalign(to, size); }

void free(void *block) {
    int kept = errno;
    add(block, -1);
    __libc_free(block);
    errno = kept;
}

void *realloc(void *block, size_t size) {
    long before = block ? (long)malloc_usable_size(block) : 0;
    void *moved = __libc_realloc(block, size);
    if (!moved && size) return NULL;
    atomic_fetch_sub(bytes, before);
    return counted(moved);
}

int posix_memalign(void **out, size_t to, size_t size) {
    void *block = memalign(to, size);
    if (!block) return ENOMEM;
    *out = block;
    return 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("HEAP_COUNTS");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    atomic_long *mapped = mmap(NULL, sizeof *mapped, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    // A program that jotd started finds that it is counted already.
    if (mapped == MAP_FAILED || *mapped) return;
    *mapped = early;
    bytes = mapped;
}
