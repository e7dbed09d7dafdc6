import java.awt.Color;
import java.awt.Font;
import java.awt.Graphics2D;
import java.awt.GraphicsEnvironment;
import java.awt.image.BufferedImage;
import javax.swing.UIManager;

/** Says which fonts there are, whether a letter i is narrower than an m, and how many points a word has when it is drawn. */
public class Fonts {
    public static void main(String[] words) {
        for (String each : GraphicsEnvironment.getLocalGraphicsEnvironment().getAvailableFontFamilyNames())
            if (each.startsWith("DejaVu")) System.out.println(each);
        Graphics2D graphics = new BufferedImage(1, 1, BufferedImage.TYPE_INT_RGB).createGraphics();
        for (String name : new String[] {UIManager.getFont("Label.font").getFamily(), Font.MONOSPACED}) {
            var measured = graphics.getFontMetrics(new Font(name, Font.PLAIN, 20));
            System.out.println(name + (measured.charWidth('i') < measured.charWidth('m') ? " proportional" : " fixed"));
        }
        BufferedImage page = new BufferedImage(200, 40, BufferedImage.TYPE_INT_RGB);
        Graphics2D pen = page.createGraphics();
        pen.setColor(Color.WHITE);
        pen.setFont(new Font(Font.SERIF, Font.PLAIN, 20));
        pen.drawString("Grüße", 10, 30);
        int[] points = page.getRGB(0, 0, 200, 40, null, 0, 200);
        System.out.println(java.util.Arrays.stream(points).filter(each -> each != 0xff000000).count() > 100);
    }
}
