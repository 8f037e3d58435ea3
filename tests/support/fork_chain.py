"""A program in C that forks and exits all the time, so that no look at the processes sees where it is."""

# A generation lives for half a millisecond, far less than a look at all processes takes. In ten seconds it uses at most
# 20,000 process ids, so that the machine does not run out of them where nobody reaps the dead in time.
FORK_CHAIN = """
#include <unistd.h>
#include <stdio.h>
#include <time.h>
int main(int c, char **v) {
  if (fork()) { usleep(300000); return 7; }
  setsid();
  for (int i = 0; i < 3; i++) close(i);
  time_t end = time(0) + 10;
  while (time(0) < end) { usleep(500); if (fork()) _exit(0); }
}
"""
