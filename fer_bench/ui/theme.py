"""The app's look: one accent, one colour a class, quiet surfaces, the system's own fonts (nothing is fetched)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from fer_bench.plots import ACCENT, ACCENT_DARK, BARS_CSS, CLASS_COLOURS
from fer_bench.ui import about, answers, batch, board, live, try_it

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
<script>
// Gradio's tabs know no arrow keys.
addEventListener("keydown", event => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], tab = event.target.closest?.("[role=tab]");
  if (!step || !tab) return;
  const tabs = [...tab.closest("[role=tablist]").querySelectorAll("[role=tab]")];
  const next = tabs.at((tabs.indexOf(tab) + step) % tabs.length);
  next.focus();
  next.click();
});
</script>
"""

# Gradio's own ticks are white.
_TICK = "M12.2 4.8a1 1 0 0 1 0 1.4l-5 5a1 1 0 0 1-1.4 0l-2-2a1 1 0 0 1 1.4-1.4l1.3 1.3 4.3-4.3a1 1 0 0 1 1.4 0z"
_DOT = "M8 5a3 3 0 1 0 0 6a3 3 0 1 0 0-6z"


def _mark(shape: str, colour: str) -> str:
    drawn = f"<svg viewBox='0 0 16 16' fill='{colour}' xmlns='http://www.w3.org/2000/svg'><path d='{shape}'/></svg>"
    return f'url("data:image/svg+xml,{quote(drawn)}")'


CSS = f"""
:root {{
  --fb-accent: {ACCENT}; --fb-on-accent: #ffffff; --fb-warning: #b45309;
  --fb-tick: {_mark(_TICK, "#ffffff")}; --fb-dot: {_mark(_DOT, "#ffffff")};
  {" ".join(f"--fb-{name}: {colour};" for name, colour in CLASS_COLOURS.items())}
}}
.dark {{
  --fb-accent: {ACCENT_DARK}; --fb-on-accent: #0b0f19; --fb-warning: #f59e0b;
  --fb-tick: {_mark(_TICK, "#0b0f19")}; --fb-dot: {_mark(_DOT, "#0b0f19")};
}}
.gradio-container {{ width: 100%; max-width: 1200px !important; margin-inline: auto !important; }}
.gradio-container .main.app {{ padding-inline: clamp(0.25rem, 2.5vw, 2rem); }}
.fb-header h1 {{ font-size: 1.5rem; font-weight: 650; letter-spacing: -0.01em; margin: 0; }}
.fb-header p, .fb-quiet {{ color: var(--body-text-color-subdued); margin: 0.15rem 0 0; }}
.fb-note {{ border-left: 3px solid var(--fb-accent); padding: 0.35rem 0.75rem; margin: 0; }}
.fb-warning {{ border-left: 3px solid var(--fb-warning); padding: 0.35rem 0.75rem; margin: 0; }}
.fb-empty {{ text-align: center; padding: 2.5rem 1rem; color: var(--body-text-color-subdued); }}
.token.parameter.variable {{ color: inherit; }}
.fb-number {{ font-variant-numeric: tabular-nums; text-align: right; }}
.fb-visually-hidden {{ position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }}
:focus-visible {{ outline: 2px solid var(--fb-accent); outline-offset: 2px; }}
@media (prefers-reduced-motion: reduce) {{ * {{ animation: none !important; transition: none !important; }} }}
.token-remove, .icon-button, .source-selection .icon, .label-clear-button {{
  min-width: 24px; min-height: 24px; justify-content: center; }}
.label-wrap {{ text-align: left; }}
@media (max-width: 30rem) {{ .tab-container button {{ padding-inline: 0.5rem !important; font-size: 0.85rem; }} }}
.label-wrap, .show-api, .checkbox-container {{ min-height: 24px; }}
.download-link {{ display: inline-block; padding-block: 4px; }}
footer .divider {{ display: none; }}
/* Two dozen networks would otherwise be listed up to the tabs and over them. */
div.options {{ max-height: 16rem !important; }}
{BARS_CSS}{answers.CSS}{try_it.CSS}{live.CSS}{board.CSS}{batch.CSS}{about.CSS}
"""


def theme() -> Base:
    """Gradio's base theme in our accent and fonts."""
    import gradio as gr

    teal = vars(gr.themes.colors.teal)
    accent = gr.themes.Color(
        **{key: value for key, value in teal.items() if key.startswith("c")}
        | dict.fromkeys(("c400", "c500", "c600", "c700"), "var(--fb-accent)")
    )
    return gr.themes.Base(
        primary_hue=accent,
        secondary_hue=accent,
        neutral_hue=gr.themes.colors.slate,
        font=SANS,
        font_mono=MONO,
        radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_md,
    ).set(
        button_primary_background_fill="var(--fb-accent)",
        button_primary_background_fill_dark="var(--fb-accent)",
        button_primary_background_fill_hover="color-mix(in srgb, var(--fb-accent) 85%, black)",
        button_primary_background_fill_hover_dark="color-mix(in srgb, var(--fb-accent) 85%, black)",
        button_primary_text_color="var(--fb-on-accent)",
        button_primary_text_color_dark="var(--fb-on-accent)",
        checkbox_check="var(--fb-tick)",
        radio_circle="var(--fb-dot)",
        body_text_color_subdued="*neutral_500",  # Gradio's own is too pale to read on white
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_300",
        block_border_width="1px",
        block_shadow="none",
    )
