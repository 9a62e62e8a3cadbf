"""The Hugging Face Space's entry: `python app.py` opens the demo."""

from fer_bench.ui import create_app

if __name__ == "__main__":
    create_app().launch()
