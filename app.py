"""The Hugging Face Space's entry: `python app.py` opens the demo."""

from fer_bench.ui import launch

if __name__ == "__main__":
    launch()
