"""The app's look: one accent, one colour a class, quiet surfaces, the system's own fonts (nothing is fetched)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_bench.plots import ACCENT, ACCENT_DARK, BARS_CSS, CLASS_COLOURS
from fer_bench.ui import about, board, live, try_it

if TYPE_CHECKING:
    from gradio.themes.base import Base

SANS = ["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]

HEADER = """
<header class="fb-header">
  <h1>fer_bench</h1>
  <p>Facial-expression models under shared, honest protocols. Try one on a face, or read what each can do.</p>
</header>
"""

# A picture of one word, so that the browser asks nobody for an icon.
HEAD = """
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="description" content="Facial-expression models under shared, honest protocols">
"""

CSS = f"""
:root {{
  --fb-accent: {ACCENT};
  {" ".join(f"--fb-{name}: {colour};" for name, colour in CLASS_COLOURS.items())}
}}
.dark {{ --fb-accent: {ACCENT_DARK}; }}
.gradio-container {{ width: 100%; max-width: 1200px !important; margin-inline: auto !important; }}
.gradio-container .main.app {{ padding-inline: clamp(0.25rem, 2.5vw, 2rem); }}
.fb-header h1 {{ font-size: 1.5rem; font-weight: 650; letter-spacing: -0.01em; margin: 0; }}
.fb-header p, .fb-quiet {{ color: var(--body-text-color-subdued); margin: 0.15rem 0 0; }}
.fb-note {{ border-left: 3px solid var(--fb-accent); padding: 0.35rem 0.75rem; margin: 0; }}
.fb-warning {{ border-left: 3px solid #b45309; padding: 0.35rem 0.75rem; margin: 0; }}
.fb-empty {{ text-align: center; padding: 2.5rem 1rem; color: var(--body-text-color-subdued); }}
.fb-number {{ font-variant-numeric: tabular-nums; text-align: right; }}
.fb-visually-hidden {{ position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }}
:focus-visible {{ outline: 2px solid var(--fb-accent); outline-offset: 2px; }}
@media (prefers-reduced-motion: reduce) {{ * {{ animation: none !important; transition: none !important; }} }}
{BARS_CSS}{try_it.CSS}{live.CSS}{board.CSS}{about.CSS}
"""


def theme() -> Base:
    """Gradio's base theme in our accent and fonts."""
    import gradio as gr

    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.slate,
        font=SANS,
        font_mono=MONO,
        radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_md,
    ).set(
        button_primary_background_fill=ACCENT,
        button_primary_background_fill_hover=f"color-mix(in srgb, {ACCENT} 85%, black)",
        button_primary_background_fill_dark=ACCENT,
        button_primary_text_color="white",
        body_text_color_subdued="*neutral_500",  # Gradio's own is too pale to read on white
        block_border_width="1px",
        block_shadow="none",
    )
