# A program that measures and draws text, in Java that is compiled here.
set -eu
java -XX:TieredStopAtLevel=1 -cp /smoke/usr/share/java/ecj.jar org.eclipse.jdt.internal.compiler.batch.Main \
    -11 -proc:none -d /dev/shm /smoke/Fonts.java
exec java -cp /dev/shm Fonts
