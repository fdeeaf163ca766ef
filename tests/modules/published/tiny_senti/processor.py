def load_vocab(path):
    with open(path, encoding="utf-8") as file:
        return {line.strip(): number for number, line in enumerate(file)}


def preprocess(texts, vocab):
    return [{"processed": [vocab[word] for word in text.split() if word in vocab]} for text in texts]
