import java.io.FileInputStream;
import java.security.KeyStore;
import javax.net.ssl.*;

/** A TLS server, a client that knows its certificate, and one that knows those of the image alone. */
public class Tls {
    public static void main(String[] words) throws Exception {
        char[] password = "secret".toCharArray();
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(new FileInputStream("/dev/shm/it.p12"), password);
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(store, password);
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext knowing = SSLContext.getInstance("TLS");
        knowing.init(keys.getKeyManagers(), trust.getTrustManagers(), null);

        SSLServerSocket server = (SSLServerSocket) knowing.getServerSocketFactory().createServerSocket(0);
        Thread serving = new Thread(() -> serve(server));
        serving.setDaemon(true);
        serving.start();
        shake(knowing, server.getLocalPort());
        System.out.println("trusted");
        try {
            shake(SSLContext.getDefault(), server.getLocalPort());
        } catch (SSLHandshakeException refusal) {
            System.out.println("refused");
        }
        trust.init((KeyStore) null);
        int known = ((X509TrustManager) trust.getTrustManagers()[0]).getAcceptedIssuers().length;
        System.out.println(known + " authorities");
    }

    static void serve(SSLServerSocket server) {
        while (true) {
            try (SSLSocket client = (SSLSocket) server.accept()) {
                client.startHandshake();
                client.getOutputStream().write(1);
            } catch (Exception refused) {
                continue;
            }
        }
    }

    static void shake(SSLContext context, int port) throws Exception {
        try (SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket("localhost", port)) {
            SSLParameters checked = socket.getSSLParameters();
            checked.setEndpointIdentificationAlgorithm("HTTPS");
            socket.setSSLParameters(checked);
            socket.startHandshake();
            socket.getInputStream().read();
        }
    }
}
