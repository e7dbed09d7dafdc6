# A TLS server on loopback, and two clients of it, in Java that is compiled here.
set -eu
java -XX:TieredStopAtLevel=1 -cp /smoke/usr/share/java/ecj.jar org.eclipse.jdt.internal.compiler.batch.Main \
    -11 -proc:none -d /dev/shm /smoke/Tls.java
keytool -genkeypair -alias it -keyalg EC -dname CN=localhost -ext san=dns:localhost -validity 2 \
    -storetype PKCS12 -keystore /dev/shm/it.p12 -storepass secret 2>/dev/null
exec java -cp /dev/shm Tls
