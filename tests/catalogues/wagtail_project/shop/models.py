"""A shop's products as Wagtail developers write them: a page, a plain snippet, a snippet with drafts."""

from __future__ import annotations

from django.db import models
from modelcluster.fields import ParentalKey
from wagtail.admin.panels import FieldPanel
from wagtail.models import DraftStateMixin, LockableMixin, Orderable, Page, RevisionMixin, WorkflowMixin
from wagtail.snippets.models import register_snippet


class ProductPage(Page):
    kind = models.CharField(max_length=50, blank=True)
    intro = models.TextField(blank=True)
    photo = models.ForeignKey("wagtailimages.Image", models.SET_NULL, null=True, blank=True, related_name="+")

    content_panels = [*Page.content_panels, FieldPanel("kind"), FieldPanel("intro"), FieldPanel("photo")]
    template = "product_page.html"


class ShoePage(Page):
    kind = models.CharField(max_length=50, blank=True)


class ShoePhoto(Orderable):
    page = ParentalKey(ShoePage, on_delete=models.CASCADE, related_name="photos")
    image = models.ForeignKey("wagtailimages.Image", models.CASCADE, related_name="+")
    caption = models.CharField(max_length=100, blank=True)


@register_snippet
class Poster(models.Model):
    name = models.CharField(max_length=100)
    category = models.CharField(max_length=50, blank=True)
    image = models.ForeignKey("wagtailimages.Image", models.SET_NULL, null=True, blank=True, related_name="+")

    def __str__(self) -> str:
        return self.name


@register_snippet
class Garment(WorkflowMixin, DraftStateMixin, LockableMixin, RevisionMixin, models.Model):
    name = models.CharField(max_length=100)
    category = models.CharField(max_length=50, blank=True)
    image = models.ForeignKey("wagtailimages.Image", models.SET_NULL, null=True, blank=True, related_name="+")
    swatch = models.ForeignKey("wagtailimages.Image", models.SET_NULL, null=True, blank=True, related_name="+")

    def __str__(self) -> str:
        return self.name
