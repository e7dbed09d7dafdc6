#include <stdio.h>

int main(void)
{
    return puts("Hello from an image made of nothing else.") < 0;
}
