"""Short texts that show what a vocabulary is good at, and what it makes expensive."""

EXAMPLES = {
    "Python": (
        "def mean(values):\n    if not values:\n        return None\n"
        "    return sum(values) / len(values)\n"
    ),
    # The same sentence in five languages.
    "English": "The model reads one token at a time, and each of them costs the same.",
    "German": "Das Modell liest ein Token nach dem anderen, und jedes kostet gleich viel.",
    "Greek": "Το μοντέλο διαβάζει ένα σύμβολο τη φορά, και το καθένα κοστίζει το ίδιο.",
    "Hindi": "मॉडल एक बार में एक टोकन पढ़ता है, और हर टोकन की कीमत बराबर है।",
    "Chinese": "模型一次读一个词元，每个词元的代价都一样。",
    "Emoji": "Done 🎉 by 👩‍💻 in 🇪🇺 ❤️",
}
