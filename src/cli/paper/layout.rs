//! From text to places on pages.

use ttf_parser::GlyphId;

use super::{
    font::{Face, Font},
    pdf,
    qr::Code,
};

/// A4 in points.
pub const PAGE: (f32, f32) = (595.276, 841.89);
/// Margins in points: 20 mm at the top and bottom, 30 mm at the left for the binding, 20 mm at the right.
const TOP: f32 = 56.7;
const BOTTOM: f32 = 62.0;
const LEFT: f32 = 79.0;
const RIGHT: f32 = 56.7;
/// Distance of two lines, in parts of the size.
const LEADING: f32 = 1.32;
/// Space beside and above the text of a cell.
const PAD: f32 = 3.0;
const SMALL: f32 = 8.0;
/// Share of the height that the text of a line stands above its base.
const ASCENT: f32 = 0.94;

/// How a text looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    /// Font.
    pub face: Face,
    /// Size in points.
    pub size: f32,
    /// In the middle of the line.
    pub centered: bool,
}

impl Style {
    /// Running text of this size.
    #[must_use]
    pub fn text(size: f32) -> Self {
        Self { face: Face::Regular, size, centered: false }
    }

    /// Bold.
    #[must_use]
    pub fn bold(size: f32) -> Self {
        Self { face: Face::Bold, ..Self::text(size) }
    }

    /// Of letters that are all of one width.
    #[must_use]
    pub fn mono(size: f32) -> Self {
        Self { face: Face::Mono, ..Self::text(size) }
    }

    /// In the middle.
    #[must_use]
    pub fn centered(self) -> Self {
        Self { centered: true, ..self }
    }

    fn line(self) -> f32 {
        self.size * LEADING
    }
}

/// A column of a table: its heading, and its share of the width.
pub struct Column<'a> {
    /// Heading.
    pub heading: &'a str,
    /// Share of the width.
    pub share: f32,
}

/// What is drawn.
pub enum Mark {
    /// Glyphs on a base line.
    Text { face: Face, size: f32, x: f32, y: f32, glyphs: Vec<GlyphId> },
    /// A filled rectangle of a grey from 0 (black) to 1.
    Fill { x: f32, y: f32, width: f32, height: f32, grey: f32 },
    /// A line.
    Rule { from: (f32, f32), to: (f32, f32), width: f32 },
}

/// A document in the making: what is put comes below what was put before, on as many pages as it needs.
pub struct Paper {
    fonts: Vec<Font>,
    pages: Vec<Vec<Mark>>,
    /// Where the next line begins, from below.
    y: f32,
}

impl Paper {
    /// An empty document; `None` if the fonts can't be read, which a test rules out.
    #[must_use]
    pub fn new() -> Option<Self> {
        let fonts = Face::ALL.into_iter().map(Font::open).collect::<Option<_>>()?;
        Some(Self { fonts, pages: vec![Vec::new()], y: PAGE.1 - TOP })
    }

    /// Leaves some space.
    pub fn space(&mut self, points: f32) {
        self.y -= points;
    }

    /// Begins a new page unless so much fits on this one.
    pub fn keep(&mut self, points: f32) {
        if self.y - points < BOTTOM {
            self.pages.push(Vec::new());
            self.y = PAGE.1 - TOP;
        }
    }

    /// A paragraph over the whole width.
    pub fn paragraph(&mut self, text: &str, style: Style) {
        self.column(text, style, LEFT, width());
    }

    /// A paragraph with a mark before it.
    pub fn point(&mut self, mark: &str, text: &str, style: Style) {
        self.keep(style.line());
        let indent = 14.0;
        self.print(mark, style, LEFT, self.y - style.size * ASCENT);
        self.column(text, style, LEFT + indent, width() - indent);
    }

    /// A name and what it stands for, side by side.
    pub fn fact(&mut self, name: &str, value: &str, style: Style) {
        let indent = 128.0;
        self.keep(style.line());
        let (page, before) = (self.pages.len(), self.y);
        self.column(name, style, LEFT, indent - 8.0);
        let below = self.y;
        if self.pages.len() == page {
            self.y = before;
        }
        self.column(
            value,
            Style { face: if style.face == Face::Mono { Face::Mono } else { Face::Bold }, ..style },
            LEFT + indent,
            width() - indent,
        );
        if self.pages.len() == page {
            self.y = self.y.min(below);
        }
        self.space(2.0);
    }

    /// A short line in the middle, as under the headings of official papers.
    pub fn short_rule(&mut self) {
        let (middle, half) = (LEFT + width() / 2.0, 60.0);
        self.mark(Mark::Rule { from: (middle - half, self.y), to: (middle + half, self.y), width: 0.7 });
        self.space(6.0);
    }

    /// Text in a grey box.
    pub fn boxed(&mut self, text: &str, style: Style) {
        let lines = self.wrap(text, style, width() - 4.0 * PAD);
        let height = style.line() * lines.len() as f32 + 4.0 * PAD;
        self.keep(height.min(400.0));
        let y = self.y - height;
        self.mark(Mark::Fill { x: LEFT, y, width: width(), height, grey: 0.93 });
        self.space(2.0 * PAD);
        for line in lines {
            self.line(&line, style, LEFT + 2.0 * PAD, width() - 4.0 * PAD);
        }
        self.space(2.0 * PAD);
    }

    /// A table whose headings stand again on each page.
    pub fn table<const N: usize>(
        &mut self,
        columns: [Column<'_>; N],
        rows: impl IntoIterator<Item = [String; N]>,
        size: f32,
    ) {
        let total: f32 = columns.iter().map(|column| column.share).sum();
        let widths = columns.each_ref().map(|column| column.share / total * width());
        let headings = columns.map(|column| column.heading.to_owned());
        let (bold, text) = (Style::bold(size), Style::text(size));
        self.keep(4.0 * bold.line());
        self.row(&headings, &widths, bold, true);
        for row in rows {
            let height = self.height(&row, &widths, text);
            let page = self.pages.len();
            self.keep(height.min(PAGE.1 / 2.0));
            if self.pages.len() > page {
                self.row(&headings, &widths, bold, true);
            }
            self.row(&row, &widths, text, false);
        }
    }

    /// A code at the right with lines of text beside it.
    pub fn code(&mut self, code: &Code, side: f32, lines: &[(String, Style)]) {
        let quiet = 4.0;
        self.keep(side + 2.0);
        let unit = side / (code.side as f32 + 2.0 * quiet);
        let (left, top) = (PAGE.0 - RIGHT - side + quiet * unit, self.y - quiet * unit);
        for (column, row, length) in code.runs() {
            let (x, y) = (left + column as f32 * unit, top - (row + 1) as f32 * unit);
            self.mark(Mark::Fill { x, y, width: length as f32 * unit, height: unit, grey: 0.0 });
        }
        let below = self.y - side;
        for (text, style) in lines {
            self.column(text, *style, LEFT, width() - side - 8.0);
        }
        self.y = self.y.min(below);
    }

    /// The file: `foot` stands below each page, before its number.
    #[must_use]
    pub fn finish(
        mut self,
        title: &str,
        language: &str,
        foot: impl Fn(usize, usize) -> (String, String),
    ) -> Option<Vec<u8>> {
        let count = self.pages.len();
        for page in 0..count {
            let (left, right) = foot(page + 1, count);
            let style = Style::text(SMALL);
            let y = BOTTOM - 26.0;
            let rule = Mark::Rule { from: (LEFT, y + 12.0), to: (PAGE.0 - RIGHT, y + 12.0), width: 0.4 };
            self.pages[page].push(rule);
            let end = PAGE.0 - RIGHT - self.font(style.face).width(&right, style.size);
            self.print_on(page, &left, style, LEFT, y);
            self.print_on(page, &right, style, end, y);
        }
        pdf::write(&self.fonts, &self.pages, title, language)
    }

    fn row<const N: usize>(
        &mut self,
        cells: &[String; N],
        widths: &[f32; N],
        style: Style,
        is_heading: bool,
    ) {
        let (height, top) = (self.height(cells, widths, style), self.y);
        if is_heading {
            self.mark(Mark::Fill { x: LEFT, y: top - height, width: width(), height, grey: 0.9 });
        }
        let mut x = LEFT;
        for (cell, width) in cells.iter().zip(widths) {
            self.y = top - PAD;
            for line in self.wrap(cell, style, width - 2.0 * PAD) {
                self.line(&line, style, x + PAD, width - 2.0 * PAD);
            }
            x += width;
        }
        self.y = top - height;
        let y = self.y;
        self.mark(Mark::Rule { from: (LEFT, y), to: (PAGE.0 - RIGHT, y), width: 0.4 });
    }

    fn height<const N: usize>(&self, cells: &[String; N], widths: &[f32; N], style: Style) -> f32 {
        let lines =
            cells.iter().zip(widths).map(|(cell, width)| self.wrap(cell, style, width - 2.0 * PAD).len());
        lines.max().unwrap_or(1).max(1) as f32 * style.line() + 2.0 * PAD
    }

    fn column(&mut self, text: &str, style: Style, x: f32, width: f32) {
        for line in self.wrap(text, style, width) {
            self.keep(style.line());
            self.line(&line, style, x, width);
        }
    }

    fn line(&mut self, line: &str, style: Style, x: f32, width: f32) {
        let free = if style.centered { width - self.font(style.face).width(line, style.size) } else { 0.0 };
        self.print(line, style, x + free / 2.0, self.y - style.size * ASCENT);
        self.y -= style.line();
    }

    /// Lines that fit into a width. A word that is longer than a line is broken anywhere.
    fn wrap(&self, text: &str, style: Style, width: f32) -> Vec<String> {
        let font = self.font(style.face);
        let fits = |line: &str| font.width(line, style.size) <= width;
        let (mut lines, mut line) = (Vec::new(), String::new());
        for word in text.split_whitespace() {
            let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
            if fits(&longer) {
                line = longer;
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            for letter in word.chars() {
                line.push(letter);
                if !fits(&line) && line.chars().count() > 1 {
                    line.pop();
                    lines.push(std::mem::replace(&mut line, letter.to_string()));
                }
            }
        }
        lines.push(line);
        lines
    }

    fn font(&self, face: Face) -> &Font {
        &self.fonts[face as usize]
    }

    fn print(&mut self, text: &str, style: Style, x: f32, y: f32) {
        self.print_on(self.pages.len() - 1, text, style, x, y);
    }

    fn print_on(&mut self, page: usize, text: &str, style: Style, x: f32, y: f32) {
        let glyphs = self.fonts[style.face as usize].print(text);
        let mark = Mark::Text { face: style.face, size: style.size, x, y, glyphs };
        if let Some(page) = self.pages.get_mut(page) {
            page.push(mark);
        }
    }

    fn mark(&mut self, mark: Mark) {
        if let Some(page) = self.pages.last_mut() {
            page.push(mark);
        }
    }
}

fn width() -> f32 {
    PAGE.0 - LEFT - RIGHT
}
