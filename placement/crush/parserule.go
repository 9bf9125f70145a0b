package crush

import (
	"errors"
	"strings"
)

func (p *parser) rule() error {
	var d ruleDef
	at := p.lex.peek()
	if at.text != "{" {
		name, err := p.name("rule name")
		if err != nil {
			return err
		}
		if p.ruleNames[name.text] {
			return p.fail(name, "the rule %s is already defined", name)
		}
		p.ruleNames[name.text] = true
		d.r.Name = name.text
		at = name
	}
	if len(p.rules) == MaxRules {
		return p.fail(at, "more than %d rules", MaxRules)
	}
	if err := p.expect("{"); err != nil {
		return err
	}
	seen := map[string]bool{}
	for !p.accept("}") {
		t := p.lex.take()
		if t.text != "step" && seen[t.text] {
			return p.fail(t, "%s is given twice in rule %s", t, d.r.Name)
		}
		seen[t.text] = true
		var err error
		switch t.text {
		case "id", "ruleset": // the older word for the same number
			err = p.ruleID(&d, seen)
		case "type":
			err = p.ruleType(&d)
		case "min_size":
			d.r.MinSize, _, err = p.integer("min_size", 0, MaxRuleSize)
		case "max_size":
			d.r.MaxSize, _, err = p.integer("max_size", 0, MaxRuleSize)
		case "step":
			if len(d.steps) == MaxRuleSteps {
				return p.fail(t, "more than %d steps in rule %s", MaxRuleSteps, d.r.Name)
			}
			err = p.step(&d)
		default:
			err = p.fail(t, "expected id, type, min_size, max_size, step or \"}\" in rule %s, got %s", d.r.Name, t)
		}
		if err != nil {
			return err
		}
	}
	for _, need := range []string{"id", "type", "step"} {
		if !seen[need] {
			return p.fail(at, "rule %s has no %s line", d.r.Name, need)
		}
	}
	p.rules = append(p.rules, d)
	return nil
}

func (p *parser) ruleID(d *ruleDef, seen map[string]bool) error {
	id, t, err := p.integer("rule id", 0, MaxRules-1)
	if err != nil {
		return err
	}
	if seen["id"] && seen["ruleset"] {
		return p.fail(t, "rule %s has both id and ruleset", d.r.Name)
	}
	if p.ruleIDs[id] {
		return p.fail(t, "the rule id %d is already taken", id)
	}
	p.ruleIDs[id] = true
	seen["id"], seen["ruleset"] = true, true
	d.r.ID = id
	return nil
}

func (p *parser) ruleType(d *ruleDef) error {
	t, err := p.word("a rule type")
	if err != nil {
		return err
	}
	switch t.text {
	case "replicated":
		d.r.Type = Replicated
	case "erasure":
		d.r.Type = Erasure
	default:
		return p.fail(t, "unknown rule type %s: use replicated or erasure", t)
	}
	return nil
}

func (p *parser) step(d *ruleDef) error {
	t, err := p.word("a step")
	if err != nil {
		return err
	}
	s := stepDef{}
	switch t.text {
	case "take":
		s.Op = OpTake
		if s.item, err = p.name("the bucket to take"); err != nil {
			return err
		}
		if p.accept("class") {
			if s.class, err = p.name("device class"); err != nil {
				return err
			}
			s.Class = s.class.text
		}
	case "emit":
		s.Op = OpEmit
	case "choose", "chooseleaf":
		if err := p.choose(&s, t.text == "chooseleaf"); err != nil {
			return err
		}
	default:
		for op, name := range setOpNames {
			if name == t.text {
				s.Op = op
			}
		}
		if s.Op == 0 {
			return p.fail(t, "unknown step %s", t)
		}
		if s.Num, _, err = p.integer(t.text, 0, maxOfSetOp(s.Op)); err != nil {
			return err
		}
	}
	d.steps = append(d.steps, s)
	return nil
}

func (p *parser) choose(s *stepDef, leaf bool) error {
	mode, err := p.word("firstn or indep")
	if err != nil {
		return err
	}
	switch {
	case mode.text == "firstn" && leaf:
		s.Op = OpChooseleafFirstN
	case mode.text == "firstn":
		s.Op = OpChooseFirstN
	case mode.text == "indep" && leaf:
		s.Op = OpChooseleafIndep
	case mode.text == "indep":
		s.Op = OpChooseIndep
	default:
		return p.fail(mode, "expected firstn or indep, got %s", mode)
	}
	if s.Num, _, err = p.integer("the number of items to choose", -MaxReplicas, MaxReplicas); err != nil {
		return err
	}
	if err := p.expect("type"); err != nil {
		return err
	}
	s.typ, err = p.name("type name")
	return err
}

// resolve turns the parsed blocks into the map.
func (p *parser) resolve() error {
	next := -1
	for i := range p.buckets {
		d := &p.buckets[i]
		if !d.hasID {
			for p.ids[next] {
				next--
			}
			if next < -MaxBucketID {
				return p.fail(d.name, "no id is left for bucket %s: %d are allowed", d.b.Name, MaxBucketID)
			}
			d.b.ID = next
			p.ids[next] = true
		}
		if err := p.addBucket(d); err != nil {
			return err
		}
	}
	for i := range p.rules {
		if err := p.addRule(&p.rules[i]); err != nil {
			return err
		}
	}
	if err := p.m.finalize(p.classes); err != nil {
		// Everything that has a place in the text was checked there; what is left
		// concerns the map as a whole, such as the size of all shadow trees.
		return p.lex.errorAt(len(p.lex.src), "%s", trimInvalid(err))
	}
	return nil
}

func (p *parser) addBucket(d *bucketDef) error {
	if _, dup := p.names[d.b.Name]; dup {
		return p.fail(d.name, "the name %s is already taken", d.name)
	}
	items := make([]Item, len(d.items))
	filled := make([]bool, len(d.items))
	for _, it := range d.items {
		if it.pos < 0 {
			continue
		}
		if it.pos >= len(items) {
			return p.fail(it.posTok, "item %s has position %d, but bucket %s has only %d items", it.name.text, it.pos, d.b.Name, len(items))
		}
		if filled[it.pos] {
			return p.fail(it.posTok, "position %d of bucket %s is taken twice", it.pos, d.b.Name)
		}
		filled[it.pos] = true
	}
	var sum uint64
	var first Weight
	next, depth := 0, 1
	seen := make(map[int]bool, len(items))
	for i, it := range d.items {
		id, ok := p.names[it.name.text]
		if !ok {
			return p.fail(it.name, "item %s of bucket %s is not defined above", it.name, d.b.Name)
		}
		if seen[id] {
			return p.fail(it.name, "item %s is twice in bucket %s", it.name, d.b.Name)
		}
		seen[id] = true
		if it.weight > MaxBucketWeight {
			it.weight = WeightOne
			if id < 0 {
				it.weight = p.bucketWeight[id]
			}
		}
		if err := checkItemWeight(Item{ID: id, Weight: it.weight}); err != nil {
			return p.fail(it.weightTok, "%s", trimInvalid(err))
		}
		if i == 0 {
			first = it.weight
		}
		if d.b.Alg == Uniform && it.weight != first {
			return p.fail(it.weightTok, "item %s of uniform bucket %s has weight %s, but all weights must be equal", it.name, d.b.Name, it.weight)
		}
		if sum += uint64(it.weight); sum > 1<<32-1 {
			return p.fail(it.weightTok, "the weights of bucket %s add up to more than 65535", d.b.Name)
		}
		pos := it.pos
		if pos < 0 {
			for filled[next] {
				next++
			}
			pos = next
			filled[pos] = true
		}
		items[pos] = Item{ID: id, Weight: it.weight}
		if id < 0 {
			depth = max(depth, p.depth[id]+1)
		}
	}
	if depth > MaxDepth {
		return p.fail(d.name, "bucket %s has more than %d levels below it", d.b.Name, MaxDepth)
	}
	d.b.Items = items
	p.names[d.b.Name] = d.b.ID
	p.bucketWeight[d.b.ID] = Weight(sum)
	p.depth[d.b.ID] = depth
	p.m.Buckets = append(p.m.Buckets, d.b)
	return nil
}

func (p *parser) addRule(d *ruleDef) error {
	for _, s := range d.steps {
		switch s.Op {
		case OpTake:
			id, ok := p.names[s.item.text]
			if !ok {
				return p.fail(s.item, "rule %s takes %s, which is not defined", d.r.Name, s.item)
			}
			if s.Class != "" && id >= 0 {
				return p.fail(s.class, "rule %s takes class %s of a device: only a bucket can be narrowed to a class", d.r.Name, s.class)
			}
			if s.Class != "" && !p.classSeen[s.Class] {
				return p.fail(s.class, "rule %s takes class %s, which no device has", d.r.Name, s.class)
			}
			s.Item = id
		case OpChooseFirstN, OpChooseIndep, OpChooseleafFirstN, OpChooseleafIndep:
			id, ok := p.types[s.typ.text]
			if !ok {
				return p.fail(s.typ, "rule %s chooses type %s, which is not defined", d.r.Name, s.typ)
			}
			s.Type = id
		}
		d.r.Steps = append(d.r.Steps, s.Step)
	}
	p.m.Rules = append(p.m.Rules, d.r)
	return nil
}

// trimInvalid drops the sentinel's own words, which would repeat the place.
func trimInvalid(err error) string {
	s := err.Error()
	if errors.Is(err, ErrInvalid) {
		s = strings.ReplaceAll(s, ErrInvalid.Error()+": ", "")
	}
	return s
}
