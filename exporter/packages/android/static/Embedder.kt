// Not compiled where this package was made: no Android SDK there. It shows the calls.
//
// dependencies {
//     implementation("com.google.ai.edge.litert:litert:1.4.0")
//     implementation("ai.djl.huggingface:tokenizers:0.33.0")
//     implementation("ai.djl.android:tokenizer-native:0.33.0")
// }
// Put model.tflite and tokenizer.json where the app can open them as files.

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer
import java.io.File
import java.nio.file.Path
import org.tensorflow.lite.Interpreter

class Embedder(model: File, tokenizer: Path, maxTokens: Int) : AutoCloseable {
    private val interpreter = Interpreter(model)
    private val tokens = HuggingFaceTokenizer.builder()
        .optTokenizerPath(tokenizer)
        .optAddSpecialTokens(true)
        .optTruncation(true)
        .optMaxLength(maxTokens)
        .optPadding(false)
        .build()
    private val lengths =
        interpreter.signatureKeys.map { it.removePrefix("tokens_").toInt() }.sorted()

    /** A vector of length 1. `text`: with its prompt, see prompts.json. */
    fun embed(text: String): FloatArray {
        val found = tokens.encode(text).ids
        val length = lengths.first { it >= found.size }
        val ids = arrayOf(IntArray(length) { if (it < found.size) found[it].toInt() else 0 })
        val mask = arrayOf(IntArray(length) { if (it < found.size) 1 else 0 })
        val signature = "tokens_$length"
        val output = interpreter.getSignatureOutputs(signature).single()
        val size = interpreter.getOutputTensorFromSignature(output, signature).shape()[1]
        val vector = arrayOf(FloatArray(size))
        interpreter.runSignature(
            mapOf("input_ids" to ids, "attention_mask" to mask),
            mapOf(output to vector),
            signature,
        )
        return vector[0]
    }

    override fun close() {
        interpreter.close()
        tokens.close()
    }
}
