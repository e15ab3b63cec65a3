/* Prints ?bytes=N bytes that a client can check: every 16 are the number of
 * the bytes before them, in 15 digits, and a newline.
 * cc -O2 -o ~/.config/caffeine/large large.c */

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 16
#define MOST 999999999999999ULL

static int bad_request(void)
{
    printf("Status: 400 Bad Request\nContent-Type: text/plain\n\nask for ?bytes=N\n");
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The number behind "bytes=", which must be the whole query; 0 if it is one. */
static int parse(const char *query, unsigned long long *bytes)
{
    static const char key[] = "bytes=";
    char *end;

    if (query == NULL || strncmp(query, key, sizeof key - 1) != 0)
        return -1;
    query += sizeof key - 1;
    if (!isdigit((unsigned char)*query))
        return -1;
    errno = 0;
    *bytes = strtoull(query, &end, 10);
    return errno == 0 && *end == '\0' && *bytes <= MOST ? 0 : -1;
}

int main(void)
{
    static char buffer[64 * 1024];
    unsigned long long bytes, at;
    char block[BLOCK + 1];

    if (parse(getenv("QUERY_STRING"), &bytes) != 0)
        return bad_request();
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    printf("Content-Type: application/octet-stream\nContent-Length: %llu\n\n", bytes);
    for (at = 0; at < bytes; at += BLOCK) {
        size_t length = bytes - at < BLOCK ? (size_t)(bytes - at) : BLOCK;

        snprintf(block, sizeof block, "%015llu\n", at % (MOST + 1));
        if (fwrite(block, 1, length, stdout) != length)
            break;
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("large");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
