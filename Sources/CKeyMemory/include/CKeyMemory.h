#pragma once
// Keeps what libcrypto allocates for a key in its secure heap (OPENSSL_secure_malloc(3)): locked,
// left out of core files, between guard pages. HMAC contexts of OpenSSL 3.0 copy the key to the
// ordinary heap otherwise.
#include <stddef.h>

// Sets the secure heap up; to be called once, before libcrypto allocates anything. 1 when it is
// there and locked, 2 when it is there but could not be locked or marked, 0 when it is not.
int keymemory_prepare(size_t bytes);

// From one of these to the last, all that the calling thread lets libcrypto allocate is in the
// secure heap; or it is on the ordinary heap, but for what libcrypto itself takes from the secure
// one, and is wiped when it is freed: for what takes so much that the secure heap has no room.
void keymemory_enter(void);
void keymemory_wipe(void);
void keymemory_leave(void);
