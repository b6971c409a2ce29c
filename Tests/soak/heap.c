// Preloaded into jotd by the soak: counts what is allocated and not freed. Unlike resident memory
// this knows neither the machine nor the moment, so that the smallest leak shows in it.
//
// HEAP_COUNTS is a file of at least one page; its first 16 bytes are the bytes and the blocks that
// live, as malloc(3) and its kin gave them. Programs that jotd starts do not count.
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

struct counts {
    atomic_long bytes, blocks;
};
// Counts until the file is there.
static struct counts early;
static struct counts *counts = &early;

static void add(void *block, long sign) {
    if (!block) return;
    atomic_fetch_add(&counts->bytes, sign * (long)malloc_usable_size(block));
    atomic_fetch_add(&counts->blocks, sign);
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
    if (block) {
        atomic_fetch_sub(&counts->bytes, before);
        atomic_fetch_sub(&counts->blocks, 1);
    }
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
    struct counts *mapped = mmap(NULL, sizeof *mapped, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED || mapped->blocks) return;
    mapped->bytes = early.bytes;
    mapped->blocks = early.blocks;
    counts = mapped;
}
