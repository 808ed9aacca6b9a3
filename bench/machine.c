/*
 * What this machine can do on one core, in single precision.
 *
 *     machine fma SECONDS           GFLOP/s of independent chains of fused multiply-adds, W floats wide, in registers
 *     machine triad SECONDS FLOATS  GB/s of a[i] = b[i] + s c[i] over three arrays of so many floats each
 *
 * One number on stdout, the best of the pieces that the seconds were cut into.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef float vector __attribute__((vector_size(4 * W)));

/* of the processor: what others take of the core doesn't count */
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

enum { CHAINS = 12 };
static volatile float sink;

__attribute__((noinline)) static void chains(long steps, float s) {
  vector a[CHAINS], x, y;
  for (int l = 0; l < W; l++) x[l] = 0.999f + s, y[l] = 1e-3f + s;
  for (int i = 0; i < CHAINS; i++)
    for (int l = 0; l < W; l++) a[i][l] = i + l;
  for (long k = 0; k < steps; k++) {
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) a[i] = a[i] * x + y;
    __asm__ volatile("" :::);
  }
  float total = 0;
  for (int i = 0; i < CHAINS; i++)
    for (int l = 0; l < W; l++) total += a[i][l];
  sink = total;
}

__attribute__((noinline)) static void triad(float *a, const float *b, const float *c, float s, long n) {
  for (long i = 0; i < n; i++) a[i] = b[i] + s * c[i];
}

int main(int count, char **words) {
  if (count < 3) return 2;
  const double seconds = atof(words[2]);
  const double end = now() + seconds;
  double best = 0;
  if (!strcmp(words[1], "fma")) {
    const long steps = 200000;
    do {
      const double begun = now();
      chains(steps, 0);
      const double rate = 2.0 * W * CHAINS * steps / (now() - begun) / 1e9;
      if (rate > best) best = rate;
    } while (now() < end);
  } else if (!strcmp(words[1], "triad") && count > 3) {
    const long n = atol(words[3]);
    const size_t bytes = (n * sizeof(float) + 63) / 64 * 64;
    float *a = aligned_alloc(64, bytes), *b = aligned_alloc(64, bytes), *c = aligned_alloc(64, bytes);
    if (!a || !b || !c) return 1;
    for (long i = 0; i < n; i++) a[i] = 0, b[i] = i, c[i] = 1;
    const long repeats = 1 + 500000 / n;
    do {
      const double begun = now();
      for (long r = 0; r < repeats; r++) triad(a, b, c, 1.5f + r, n);
      const double rate = 12.0 * n * repeats / (now() - begun) / 1e9;
      if (rate > best) best = rate;
    } while (now() < end);
  } else return 2;
  printf("%.3f\n", best);
  return 0;
}
