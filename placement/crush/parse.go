package crush

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Parse compiles the text of a map. A map that is not well formed, or that breaks
// one of the limits, is refused with a *SyntaxError.
//
// Devices, types and buckets must be defined before they are used, as crushtool
// demands; this also makes cycles impossible. Tunables that the text does not set have
// the values of LegacyTunables.
func Parse(text string) (*Map, error) {
	if len(text) > MaxTextBytes {
		return nil, &SyntaxError{Line: 1, Col: 1, Msg: "the map has " + strconv.Itoa(len(text)) + " bytes, at most " + strconv.Itoa(MaxTextBytes) + " are allowed"}
	}
	p := &parser{
		lex:   newLexer(text),
		m:     &Map{Tunables: LegacyTunables()},
		names: map[string]int{}, ids: map[int]bool{}, typeIDs: map[int]bool{}, types: map[string]int{},
		ruleNames: map[string]bool{}, ruleIDs: map[int]bool{}, classSeen: map[string]bool{},
		bucketWeight: map[int]Weight{}, depth: map[int]int{},
	}
	if err := p.parse(); err != nil {
		return nil, err
	}
	return p.m, nil
}

type parser struct {
	lex *lexer
	m   *Map

	names        map[string]int // of devices and buckets
	ids          map[int]bool   // of devices, buckets and declared shadows
	types        map[string]int
	typeIDs      map[int]bool
	ruleNames    map[string]bool
	ruleIDs      map[int]bool
	classes      []string // in order of appearance
	classSeen    map[string]bool
	bucketWeight map[int]Weight
	depth        map[int]int
	tunablesSet  map[string]bool

	buckets []bucketDef // parsed, not yet in m
	rules   []ruleDef
}

// bucketDef and ruleDef are blocks whose names are looked up only when the whole
// text is read: a bucket without an id gets one that no later bucket declares.
type bucketDef struct {
	b     Bucket
	name  token
	typ   token
	idTok token
	hasID bool
	items []itemDef
}

type itemDef struct {
	name, weightTok token
	weight          Weight
	pos             int // -1: the next free one
	posTok          token
}

type ruleDef struct {
	r     Rule
	steps []stepDef
}

type stepDef struct {
	Step
	item, class, typ token
}

func (p *parser) fail(t token, format string, args ...any) error {
	if p.lex.err != nil && t.text == "" {
		return p.lex.err // the input did not end here, it was cut at a bad character
	}
	return p.lex.errorAt(t.off, format, args...)
}

var definitions = []string{"tunable", "device", "type", "rule", "choose_args"}

func reservedWord(s string) bool {
	for _, d := range definitions {
		if s == d {
			return true
		}
	}
	return false
}

func (p *parser) parse() error {
	for p.lex.peek().text != "" {
		t := p.lex.take()
		var err error
		switch t.text {
		case "tunable":
			err = p.tunable()
		case "device":
			err = p.device()
		case "type":
			err = p.typ()
		case "rule":
			err = p.rule()
		case "choose_args":
			err = p.fail(t, "choose_args (per-pool weight sets) are not supported: remove the block and set item weights instead")
		default:
			if _, ok := p.types[t.text]; !ok {
				err = p.fail(t, "unexpected %s: a tunable, device, type, bucket or rule must begin here, and a bucket begins with one of the types defined above", t)
			} else if len(p.rules) > 0 {
				err = p.fail(t, "bucket after a rule: buckets must be defined before rules")
			} else {
				err = p.bucket(t)
			}
		}
		if err != nil {
			return err
		}
	}
	if p.lex.err != nil {
		return p.lex.err
	}
	return p.resolve()
}

// word takes the next token, which must be a word; what says what it stands for.
func (p *parser) word(what string) (token, error) {
	t := p.lex.take()
	if t.text == "" || strings.Contains("{}[],", t.text) {
		return t, p.fail(t, "expected %s, got %s", what, t)
	}
	return t, nil
}

func (p *parser) expect(text string) error {
	if t := p.lex.take(); t.text != text {
		return p.fail(t, "expected %q, got %s", text, t)
	}
	return nil
}

// accept takes the next token if it is the text.
func (p *parser) accept(text string) bool {
	if p.lex.peek().text == text {
		p.lex.take()
		return true
	}
	return false
}

func (p *parser) name(what string) (token, error) {
	t, err := p.word(what)
	if err != nil {
		return t, err
	}
	if err := validName(t.text); err != nil {
		return t, p.fail(t, "bad %s: %s", what, trimInvalid(err))
	}
	return t, nil
}

func (p *parser) integer(what string, low, high int) (int, token, error) {
	t, err := p.word(what)
	if err != nil {
		return 0, t, err
	}
	n, err := strconv.Atoi(t.text)
	if err != nil || t.text[0] == '+' {
		if errors.Is(err, strconv.ErrRange) {
			return 0, t, p.fail(t, "%s is %s, allowed are %d to %d", what, t, low, high)
		}
		return 0, t, p.fail(t, "expected %s (a number), got %s", what, t)
	}
	if n < low || n > high {
		return 0, t, p.fail(t, "%s is %d, allowed are %d to %d", what, n, low, high)
	}
	return n, t, nil
}

func (p *parser) tunable() error {
	t, err := p.word("a tunable's name")
	if err != nil {
		return err
	}
	tun := &p.m.Tunables
	set, limit := (func(int))(nil), MaxTries
	switch t.text {
	case "choose_local_tries":
		set = func(n int) { tun.ChooseLocalTries = n }
	case "choose_local_fallback_tries":
		set = func(n int) { tun.ChooseLocalFallbackTries = n }
	case "choose_total_tries":
		set = func(n int) { tun.ChooseTotalTries = n }
	case "chooseleaf_descend_once":
		set, limit = func(n int) { tun.ChooseleafDescendOnce = n != 0 }, 1
	case "chooseleaf_vary_r":
		set, limit = func(n int) { tun.ChooseleafVaryR = n }, maxVaryR
	case "chooseleaf_stable":
		set, limit = func(n int) { tun.ChooseleafStable = n != 0 }, 1
	case "straw_calc_version":
		set, limit = func(n int) { tun.StrawCalcVersion = n }, maxStrawCalc
	case "allowed_bucket_algs":
		set, limit = func(n int) { tun.AllowedBucketAlgs = uint32(n) }, math.MaxUint32
	default:
		return p.fail(t, "unknown tunable %s", t)
	}
	if p.tunablesSet == nil {
		p.tunablesSet = map[string]bool{}
	}
	if p.tunablesSet[t.text] {
		return p.fail(t, "tunable %s is set twice", t.text)
	}
	p.tunablesSet[t.text] = true
	n, _, err := p.integer("tunable "+t.text, 0, limit)
	if err != nil {
		return err
	}
	set(n)
	return nil
}

func (p *parser) device() error {
	id, idTok, err := p.integer("device id", 0, MaxDeviceID)
	if err != nil {
		return err
	}
	name, err := p.name("device name")
	if err != nil {
		return err
	}
	if err := p.define(name, id, idTok); err != nil {
		return err
	}
	d := Device{ID: id, Name: name.text}
	if p.accept("class") {
		class, err := p.class()
		if err != nil {
			return err
		}
		d.Class = class
	}
	p.m.Devices = append(p.m.Devices, d)
	return nil
}

func (p *parser) class() (string, error) {
	t, err := p.name("device class")
	if err != nil {
		return "", err
	}
	if !p.classSeen[t.text] {
		if len(p.classes) == MaxClasses {
			return "", p.fail(t, "more than %d device classes", MaxClasses)
		}
		p.classSeen[t.text] = true
		p.classes = append(p.classes, t.text)
	}
	return t.text, nil
}

// define enters the name and id of a device or bucket.
func (p *parser) define(name token, id int, idTok token) error {
	if _, dup := p.names[name.text]; dup {
		return p.fail(name, "the name %s is already taken", name)
	}
	if p.ids[id] {
		return p.fail(idTok, "the id %d is already taken", id)
	}
	p.names[name.text] = id
	p.ids[id] = true
	return nil
}

func (p *parser) typ() error {
	id, idTok, err := p.integer("type id", 0, MaxTypeID)
	if err != nil {
		return err
	}
	name, err := p.name("type name")
	if err != nil {
		return err
	}
	switch _, dup := p.types[name.text]; {
	case dup:
		return p.fail(name, "the type %s is already defined", name)
	case p.typeIDs[id]:
		return p.fail(idTok, "the type id %d is already taken", id)
	case len(p.m.Types) == MaxTypes:
		return p.fail(name, "more than %d types", MaxTypes)
	case id != 0 && reservedWord(name.text):
		return p.fail(name, "a type cannot be named %s, which begins another kind of definition", name)
	}
	p.types[name.text] = id
	p.typeIDs[id] = true
	p.m.Types = append(p.m.Types, Type{ID: id, Name: name.text})
	return nil
}

func (p *parser) bucket(typ token) error {
	d := bucketDef{typ: typ}
	var err error
	if p.types[typ.text] == 0 {
		return p.fail(typ, "a bucket cannot have type %s: type 0 is that of devices", typ)
	}
	d.b.Type = p.types[typ.text]
	if d.name, err = p.name("bucket name"); err != nil {
		return err
	}
	d.b.Name = d.name.text
	if err := p.expect("{"); err != nil {
		return err
	}
	for !p.accept("}") {
		t := p.lex.take()
		switch t.text {
		case "id":
			err = p.bucketID(&d)
		case "alg":
			err = p.bucketAlg(&d, t)
		case "hash":
			err = p.bucketHash()
		case "item":
			err = p.bucketItem(&d)
		default:
			err = p.fail(t, "expected id, alg, hash, item or \"}\" in bucket %s, got %s", d.b.Name, t)
		}
		if err != nil {
			return err
		}
	}
	if d.b.Alg == 0 {
		return p.fail(d.name, "bucket %s has no alg line", d.b.Name)
	}
	p.buckets = append(p.buckets, d)
	return nil
}

func (p *parser) bucketID(d *bucketDef) error {
	id, t, err := p.integer("bucket id", -MaxBucketID, -1)
	if err != nil {
		return err
	}
	if p.ids[id] {
		return p.fail(t, "the id %d is already taken", id)
	}
	if !p.accept("class") {
		if d.hasID {
			return p.fail(t, "bucket %s has two ids", d.b.Name)
		}
		d.b.ID, d.idTok, d.hasID = id, t, true
		p.ids[id] = true
		return nil
	}
	class, err := p.class()
	if err != nil {
		return err
	}
	if _, dup := d.b.shadow(class); dup {
		return p.fail(t, "bucket %s has two ids for class %s", d.b.Name, class)
	}
	p.ids[id] = true
	d.b.Shadows = append(d.b.Shadows, ClassID{Class: class, ID: id})
	return nil
}

func (p *parser) bucketAlg(d *bucketDef, at token) error {
	t, err := p.word("a bucket algorithm")
	if err != nil {
		return err
	}
	if d.b.Alg != 0 {
		return p.fail(at, "bucket %s has two alg lines", d.b.Name)
	}
	alg, ok := algByName(t.text)
	if !ok {
		return p.fail(t, "unknown bucket algorithm %s: use uniform, list, tree, straw or straw2", t)
	}
	d.b.Alg = alg
	return nil
}

func (p *parser) bucketHash() error {
	t, err := p.word("a hash")
	if err != nil {
		return err
	}
	if t.text != "0" && t.text != "rjenkins1" {
		return p.fail(t, "unknown hash %s: only 0 (rjenkins1) exists", t)
	}
	return nil
}

func (p *parser) bucketItem(d *bucketDef) error {
	it := itemDef{pos: -1}
	var err error
	if it.name, err = p.name("item name"); err != nil {
		return err
	}
	it.weightTok = it.name
	hasWeight := false
	for {
		switch {
		case !hasWeight && p.accept("weight"):
			hasWeight = true
			if it.weight, it.weightTok, err = p.weight(); err != nil {
				return err
			}
			continue
		case it.pos < 0 && p.accept("pos"):
			if it.pos, it.posTok, err = p.integer("position", 0, math.MaxInt32); err != nil {
				return err
			}
			continue
		}
		break
	}
	if !hasWeight {
		it.weight = math.MaxUint32 // resolve puts in what the item weighs
	}
	d.items = append(d.items, it)
	return nil
}

// weight converts as crushtool does: the nearest float32, truncated to 16.16.
func (p *parser) weight() (Weight, token, error) {
	t, err := p.word("a weight")
	if err != nil {
		return 0, t, err
	}
	w, ok := parseWeight(t.text)
	if !ok {
		return 0, t, p.fail(t, "expected a weight between 0 and %s, got %s", MaxBucketWeight, t)
	}
	return w, t, nil
}

func parseWeight(s string) (Weight, bool) {
	if strings.Trim(s, "0123456789.eE+-") != "" {
		return 0, false // no hexadecimal, no infinity
	}
	f, err := strconv.ParseFloat(s, 32)
	if err != nil || f < 0 || f > MaxBucketWeight.Float() {
		return 0, false
	}
	return Weight(float32(f) * float32(WeightOne)), true
}
