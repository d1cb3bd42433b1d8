//! The file itself. Nothing in it comes from a clock or from chance.

use pdf_writer::{
    Content, Finish, Name, Pdf, Rect, Ref, Str, TextStr,
    types::{CidFontType, FontFlags, SystemInfo, UnicodeCmap},
};
use subsetter::GlyphRemapper;

use super::{
    font::Font,
    layout::{Mark, PAGE},
};

const IDENTITY: SystemInfo<'_> =
    SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };
const UCS: SystemInfo<'_> = SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"UCS"), supplement: 0 };

/// Gives out the numbers of objects.
struct Refs(i32);

impl Refs {
    fn next(&mut self) -> Ref {
        self.0 += 1;
        Ref::new(self.0)
    }
}

/// The bytes; `None` if a font can't be embedded, which a test rules out.
pub fn write(fonts: &[Font], pages: &[Vec<Mark>], title: &str, language: &str) -> Option<Vec<u8>> {
    let (mut pdf, mut refs) = (Pdf::new(), Refs(0));
    let (catalog, tree, info) = (refs.next(), refs.next(), refs.next());
    let mut embedded = Vec::new();
    for font in fonts {
        embedded.push(embed(&mut pdf, &mut refs, font)?);
    }
    let mut kids = Vec::new();
    for marks in pages {
        let (page, content) = (refs.next(), refs.next());
        kids.push(page);
        let mut written = pdf.page(page);
        written.parent(tree).media_box(Rect::new(0.0, 0.0, PAGE.0, PAGE.1)).contents(content);
        let mut resources = written.resources();
        let mut names = resources.fonts();
        for (font, (id, _)) in fonts.iter().zip(&embedded) {
            names.pair(Name(name(font).as_bytes()), *id);
        }
        names.finish();
        resources.finish();
        written.finish();
        pdf.stream(content, &drawn(marks, fonts, &embedded));
    }
    let count = i32::try_from(pages.len()).ok()?;
    pdf.pages(tree).kids(kids).count(count);
    pdf.catalog(catalog).pages(tree).lang(TextStr(language));
    pdf.document_info(info).title(TextStr(title)).producer(TextStr("truc"));
    Some(pdf.finish())
}

fn name(font: &Font) -> String {
    format!("F{}", font.face as usize)
}

/// A composite font whose character codes are the numbers of its glyphs.
fn embed(pdf: &mut Pdf, refs: &mut Refs, font: &Font) -> Option<(Ref, GlyphRemapper)> {
    let (font_id, cid, descriptor, cmap, file) =
        (refs.next(), refs.next(), refs.next(), refs.next(), refs.next());
    let (subset, remapper) = font.subset()?;
    let base = Name(font.face.name().as_bytes());
    pdf.type0_font(font_id)
        .base_font(base)
        .encoding_predefined(Name(b"Identity-H"))
        .descendant_font(cid)
        .to_unicode(cmap);
    let mut described = pdf.cid_font(cid);
    described
        .subtype(CidFontType::Type2)
        .base_font(base)
        .system_info(IDENTITY)
        .font_descriptor(descriptor)
        .default_width(0.0)
        .cid_to_gid_map_predefined(Name(b"Identity"));
    let mut widths = described.widths();
    for (glyph, _, width) in &subset.glyphs {
        widths.consecutive(*glyph, [*width]);
    }
    widths.finish();
    described.finish();
    let (ascent, descent, capitals, [left, below, right, above]) = font.metrics();
    pdf.font_descriptor(descriptor)
        .name(base)
        .flags(FontFlags::SYMBOLIC)
        .bbox(Rect::new(left, below, right, above))
        .italic_angle(0.0)
        .ascent(ascent)
        .descent(descent)
        .cap_height(capitals)
        .stem_v(80.0)
        .font_file2(file);
    let mut letters = UnicodeCmap::<u16>::new(Name(b"Letters"), UCS);
    for (glyph, letter, _) in &subset.glyphs {
        letters.pair(*glyph, *letter);
    }
    pdf.cmap(cmap, &letters.finish());
    pdf.stream(file, &subset.bytes);
    Some((font_id, remapper))
}

fn drawn(marks: &[Mark], fonts: &[Font], embedded: &[(Ref, GlyphRemapper)]) -> Vec<u8> {
    let mut content = Content::new();
    for mark in marks {
        match mark {
            Mark::Fill { x, y, width, height, grey } => {
                content.set_fill_gray(*grey).rect(*x, *y, *width, *height).fill_nonzero();
            }
            Mark::Rule { from, to, width } => {
                content.set_line_width(*width).move_to(from.0, from.1).line_to(to.0, to.1).stroke();
            }
            Mark::Text { face, size, x, y, glyphs } => {
                let at = *face as usize;
                let (Some(font), Some((_, remapper))) = (fonts.get(at), embedded.get(at)) else { continue };
                let numbers = glyphs.iter().filter_map(|glyph| remapper.get(glyph.0));
                let codes: Vec<u8> = numbers.flat_map(u16::to_be_bytes).collect();
                content.set_fill_gray(0.0).begin_text().set_font(Name(name(font).as_bytes()), *size);
                content.next_line(*x, *y).show(Str(&codes)).end_text();
            }
        }
    }
    content.finish().to_vec()
}
