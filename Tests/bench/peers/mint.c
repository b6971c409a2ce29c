// Mints as many tokens as its argument says, by libcrypto alone, and prints the seconds that took
// and the last token's length: what HS256 costs at the least.
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static size_t encode(const unsigned char *from, size_t count, char *to) {
  char *begin = to;
  for (; count >= 3; from += 3, count -= 3) {
    unsigned three = from[0] << 16 | from[1] << 8 | from[2];
    *to++ = alphabet[three >> 18];
    *to++ = alphabet[three >> 12 & 63];
    *to++ = alphabet[three >> 6 & 63];
    *to++ = alphabet[three & 63];
  }
  if (count > 0) {
    unsigned three = from[0] << 16 | (count > 1 ? from[1] << 8 : 0);
    *to++ = alphabet[three >> 18];
    *to++ = alphabet[three >> 12 & 63];
    if (count > 1)
      *to++ = alphabet[three >> 6 & 63];
  }
  return to - begin;
}

int main(int argc, char **argv) {
  long count = argc > 1 ? atol(argv[1]) : 100000;
  unsigned char key[32], mac[32];
  RAND_bytes(key, sizeof key);
  EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
  EVP_MAC_CTX *context = EVP_MAC_CTX_new(hmac);
  OSSL_PARAM digest[] = {OSSL_PARAM_construct_utf8_string("digest", "SHA256", 0),
                         OSSL_PARAM_construct_end()};
  if (!EVP_MAC_init(context, key, sizeof key, digest))
    return 1;
  char *token = NULL;
  size_t length = 0;
  struct timespec began, ended;
  clock_gettime(CLOCK_MONOTONIC, &began);
  for (long each = 0; each < count; each++) {
    char claims[160];
    long now = time(NULL);
    int size = snprintf(claims, sizeof claims,
                        "{\"user_id\":\"user-%ld\",\"role\":\"operator\",\"iat\":%ld,\"exp\":%ld}",
                        each % 1000, now, now + 86400);
    free(token);
    token = malloc(320);
    static const char header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
    length = encode((const unsigned char *)header, sizeof header - 1, token);
    token[length++] = '.';
    length += encode((const unsigned char *)claims, size, token + length);
    size_t done;
    if (!EVP_MAC_init(context, NULL, 0, NULL) ||
        !EVP_MAC_update(context, (const unsigned char *)token, length) ||
        !EVP_MAC_final(context, mac, &done, sizeof mac))
      return 1;
    token[length++] = '.';
    length += encode(mac, done, token + length);
  }
  clock_gettime(CLOCK_MONOTONIC, &ended);
  printf("%.9f %zu\n",
         (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) / 1e9,
         length);
}
